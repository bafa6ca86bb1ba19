package litellm_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
)

func TestPassThroughEndpoints(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	const path = "/config/pass_through_endpoint"
	only := func(method, at, body string) map[string]any {
		t.Helper()
		all, _ := h.Must(method, at, body)["endpoints"].([]any)
		if len(all) != 1 {
			t.Fatalf("%s %s: got %v", method, at, all)
		}
		return all[0].(map[string]any)
	}
	made := only("POST", path, `{"path":"/tools/search","target":"https://x.example/s","headers":{"Authorization":"bearer canary","Content-Type":"application/json"},"cost_per_request":0.5,"auth":false,"guardrails":{"words":null},"timeout":2}`)
	id, _ := made["id"].(string)
	if made["auth"] != false || made["cost_per_request"] != 0.5 || made["timeout"] != 2.0 || made["headers"].(map[string]any)["Authorization"] != "****" || made["guardrails"].([]any)[0] != "words" {
		t.Errorf("got %v", made)
	}
	changed := only("POST", path+"/"+id, `{"include_subpath":true,"auth":true}`)
	if changed["include_subpath"] != true || changed["auth"] != true || changed["target"] != "https://x.example/s" {
		t.Errorf("got %v", changed)
	}
	for name, body := range map[string]string{
		"another host":    `{"target":"https://y.example"}`,
		"unknown field":   `{"no_such_field_that_bounds":1,"path":"x"}`,
		"path":            `{"path":"../x"}`,
		"method":          `{"methods":["CONNECT"]}`,
		"a file's target": `{"target":"file:///etc/passwd"}`,
	} {
		if a := h.Call(adminapitest.MasterKey, "POST", path+"/"+id, body); a.Status != 400 || strings.Contains(string(a.Body), "canary") {
			t.Errorf("%s: got %d %s", name, a.Status, a.Body)
		}
	}
	if a := h.Call(adminapitest.MasterKey, "POST", path, `{"path":"/tools/search","target":"https://x.example"}`); a.Status/100 != 4 {
		t.Errorf("the path twice: got %d %s", a.Status, a.Body)
	}
	only("GET", path, "")
	only("GET", path+"?endpoint_id="+id, "")
	only("DELETE", path+"?endpoint_id="+id, "")
	if a := h.Call(adminapitest.MasterKey, "GET", path+"?endpoint_id="+id, ""); a.Status != 404 {
		t.Errorf("deleted: got %d", a.Status)
	}
}
