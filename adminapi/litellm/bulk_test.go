package litellm_test

import (
	"fmt"
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

func TestTeamKeyBulkUpdate(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for _, name := range []string{"git", "mail"} {
		h.Must("POST", "/api/v1/mcp/servers", `{"name":"`+name+`","transport":"http","url":"https://mcp.example.org"}`)
	}
	h.Must("POST", "/team/new", `{"team_id":"red","object_permission":{"mcp_servers":["git","mail"],"blocked_tools":["push"]}}`)
	h.Must("POST", "/key/generate", `{"key_alias":"a","team_id":"red"}`)
	h.Must("POST", "/key/generate", `{"key_alias":"b","team_id":"red","object_permission":{"mcp_servers":["git"]}}`)
	h.Must("POST", "/key/generate", `{"key_alias":"c"}`)
	out := h.Must("POST", "/team/key/bulk_update", `{"team_id":"red","all_keys_in_team":true,"update_fields":{"rpm_limit":7}}`)
	if n, _ := out["successful_updates"].([]any); len(n) != 2 || out["total_requested"] != 2.0 {
		t.Errorf("all: got %v", out)
	}
	for body, want := range map[string]int{
		`{"team_id":"red","key_ids":["a"],"update_fields":{"tpm_limit":9}}`: 200, `{"team_id":"red","key_ids":["c"],"update_fields":{"tpm_limit":9}}`: 400,
		`{"team_id":"red","update_fields":{"tpm_limit":9}}`: 400, `{"team_id":"red","all_keys_in_team":true}`: 400,
	} {
		if a := h.Call(adminapitest.MasterKey, "POST", "/team/key/bulk_update", body); a.Status != want {
			t.Errorf("%s: got %d %s, want %d", body, a.Status, a.Body, want)
		}
	}
	if k := h.Must("GET", "/api/v1/keys/c", ""); k["limits"] != nil {
		t.Errorf("a key of no team was changed: %v", k["limits"])
	}
	if a := h.Call(adminapitest.MasterKey, "POST", "/key/generate", `{"team_id":"red","object_permission":{"mcp_servers":["other"]}}`); a.Status != 400 || !strings.Contains(string(a.Body), "object_permission") {
		t.Errorf("an MCP server that the team has not: got %d %s", a.Status, a.Body)
	}
	e := h.Must("GET", "/api/v1/keys/b/effective", "")["objects"].(map[string]any)
	if s := fmt.Sprint(e["mcp_servers"].(map[string]any)["allowed"], e["blocked_tools"]); s != "[git] [push]" {
		t.Errorf("effective objects: got %s", s)
	}
	h.Must("POST", "/organization/new", `{"organization_id":"o","organization_alias":"o"}`)
	h.Must("POST", "/organization/member_add", `{"organization_id":"o","member":{"user_id":"u","role":"internal_user"}}`)
	if m := h.Must("PATCH", "/organization/member_update", `{"organization_id":"o","user_id":"u","role":"org_admin"}`); m["user_role"] != "org_admin" {
		t.Errorf("member: got %v", m)
	}
	if m := h.Must("PATCH", "/organization/member_update", `{"organization_id":"o","user_id":"u","role":"internal_user_viewer"}`); m["user_role"] != "internal_user_viewer" {
		t.Errorf("member: got %v", m)
	}
	if o := h.Must("POST", "/organization/update", `{"organization_id":"o","rpm_limit":3,"object_permission":{"agents":["a"]}}`); o["rpm_limit"] != 3.0 || o["object_permission"] == nil {
		t.Errorf("organization: got %v", o)
	}
}
