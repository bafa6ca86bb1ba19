package litellm_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
)

func TestKeyBulkUpdate(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/key/generate", `{"key":"sk-0123456789abcdef","key_alias":"a"}`)
	h.Must("POST", "/key/generate", `{"key_alias":"b"}`)
	got := h.Must("POST", "/key/bulk_update", `{"keys":[{"key":"sk-0123456789abcdef","max_budget":5,"tags":["x"]},{"key":"none","max_budget":1},{"key":"b","team_id":"none"}]}`)
	done, failed := got["successful_updates"].([]any), got["failed_updates"].([]any)
	if got["total_requested"] != 3.0 || len(done) != 1 || len(failed) != 2 {
		t.Fatalf("got %v", got)
	}
	if info := done[0].(map[string]any)["key_info"].(map[string]any); info["max_budget"] != 5.0 || info["key_alias"] != "a" {
		t.Errorf("updated: got %v", info)
	}
	if f := failed[1].(map[string]any); f["key"] != "b" || !strings.Contains(f["failed_reason"].(string), "team_id") {
		t.Errorf("failed: got %v", f)
	}
	if a := h.Call(adminapitest.MasterKey, "POST", "/key/bulk_update", `{}`); a.Status != 400 {
		t.Errorf("no keys: got %d", a.Status)
	}
}
