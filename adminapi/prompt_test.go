package adminapi_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
)

// TestPrompts: versions are added and never change, through either API.
func TestPrompts(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	const master = adminapitest.MasterKey
	call := func(method, path, body string, status int, want string) string {
		t.Helper()
		a := h.Call(master, method, path, body)
		if a.Status != status || !strings.Contains(string(a.Body), want) {
			t.Errorf("%s %s %s: got %d %s, want %d with %s", method, path, body, a.Status, a.Body, status, want)
		}
		return string(a.Body)
	}
	call("POST", "/api/v1/prompts", `{"name":"p","versions":[{"messages":[{"role":"user","content":"one {{a}}"}]}],"environments":{"production":1}}`, 201, `"version":1`)
	call("POST", "/api/v1/prompts/p/versions", `{"dotprompt":"---\nmodel: big\n---\nUser: two {{b}}\n","environment":"development"}`, 200, `"development":2`)
	call("POST", "/api/v1/prompts/p/versions", `{"messages":[{"role":"user","content":"\n{{#if x}}"}]}`, 400, "line 2")
	call("PATCH", "/api/v1/prompts/p", `{"versions":[{"version":1,"messages":[{"role":"user","content":"other"}]}]}`, 400, "never changes")
	call("PATCH", "/api/v1/prompts/p", `{"environments":{"production":2,"development":null}}`, 200, `"production":2`)
	call("PATCH", "/api/v1/prompts/p", `{"environments":{"production":9}}`, 400, "there is no version 9")
	call("PATCH", "/api/v1/prompts/p", `{"versions":[{"version":2,"model":"big","messages":[{"role":"user","content":"two {{b}}"}]}]}`, 200, `"last":2`)
	call("PATCH", "/api/v1/prompts/p", `{"versions":[{"version":1,"messages":[{"role":"user","content":"one {{a}}"}]},{"version":2,"model":"big","messages":[{"role":"user","content":"two {{b}}"}]}]}`, 400, "was there before")

	call("POST", "/prompts", `{"prompt_id":"q","litellm_params":{"prompt_id":"q","prompt_integration":"dotprompt","dotprompt_content":"---\nmodel: gpt-4\ntemperature: 0.5\n---\nUser: hi {{x}}"},"prompt_info":{"prompt_type":"db"}}`, 200, `"version":1`)
	call("POST", "/prompts", `{"prompt_id":"r","litellm_params":{"prompt_integration":"langfuse"}}`, 400, "langfuse")
	call("PUT", "/prompts/q", `{"litellm_params":{"dotprompt_content":"User: bye {{x}}"},"environment":"staging"}`, 200, `"staging"`)
	call("GET", "/prompts/q/info?environment=staging", ``, 200, "bye {{x}}")
	call("GET", "/prompts/q?version=1", ``, 200, "hi {{x}}")
	call("GET", "/prompts/q?version=7", ``, 404, "")
	var list struct {
		Prompts []struct {
			ID      string `json:"prompt_id"`
			Version int64  `json:"version"`
		} `json:"prompts"`
	}
	if err := json.Unmarshal([]byte(call("GET", "/prompts/list", ``, 200, "")), &list); err != nil || len(list.Prompts) != 2 || list.Prompts[1].ID != "q" || list.Prompts[1].Version != 2 {
		t.Errorf("got %+v, %v", list, err)
	}
	call("GET", "/prompts/q/versions", ``, 200, `"version":2`)
	call("POST", "/utils/dotprompt_json_converter", `{"dotprompt_content":"User: a"}`, 200, `"role":"user"`)
	call("DELETE", "/prompts/q", ``, 200, "deleted")
	call("GET", "/prompts/q", ``, 404, "")
}
