package adminapi_test

import (
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/resource"
)

// Every setting is listed, set or not, with what it may be.
func TestSettings(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	one := func() map[string]any { return h.Must("GET", "/api/v1/settings/allowed_ips", "") }
	if got := one(); got["unset"] != true || got["type"] != "list" || got["help"] == "" || len(got["value"].([]any)) != 0 {
		t.Errorf("before it is set: %v", got)
	}
	h.Must("PATCH", "/api/v1/settings/allowed_ips", `{"value":["10.0.0.0/8"]}`)
	if got := one(); got["unset"] != nil || got["value"].([]any)[0] != "10.0.0.0/8" {
		t.Errorf("after it was set: %v", got)
	}
	list := h.Must("GET", "/api/v1/settings?limit=500", "")
	if got, want := len(list["items"].([]any)), len(resource.SettingInfos()); got != want || list["total"] != float64(want) {
		t.Errorf("%d settings of %v, want %d", got, list["total"], want)
	}
	for path, body := range map[string]string{
		"allowed_ips": `{"value":["10.0.0.0/99"]}`, "blocked_user_list": `{"value":"a\nb\u0001\n"}`, "no_such": `{"value":1}`,
	} {
		if res := h.Call(adminapitest.MasterKey, "PUT", "/api/v1/settings/"+path, body); res.Status != 400 && res.Status != 422 {
			t.Errorf("%s: got %d %s", path, res.Status, res.Body)
		}
	}
	h.Must("DELETE", "/api/v1/settings/allowed_ips", "")
	if got := one(); got["unset"] != true {
		t.Errorf("after it was deleted: %v", got)
	}
	if res := h.Call(adminapitest.MasterKey, "DELETE", "/api/v1/settings/allowed_ips", ""); res.Status != 404 {
		t.Errorf("deleted twice: got %d", res.Status)
	}
	if res := h.Call(adminapitest.MasterKey, "GET", "/api/v1/settings/no_such", ""); res.Status != 404 {
		t.Errorf("unknown: got %d", res.Status)
	}
}
