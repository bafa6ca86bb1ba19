package litellm_test

import (
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
)

// TestGuardSwitch takes the switch of guardrails out of metadata, for keys and teams and by those alone who may
// set it.
func TestGuardSwitch(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	made := h.Must("POST", "/team/new", `{"team_id":"t1","metadata":{"disable_global_guardrails":true,"a":1}}`)
	has(t, "team", made, map[string]any{"disable_global_guardrails": true, "metadata": map[string]any{"a": 1.0}})
	key := h.Must("POST", "/key/generate", `{"metadata":{"disable_global_guardrails":true}}`)
	id, _ := key["key"].(string)
	switched := func(want bool) {
		t.Helper()
		info := h.Must("GET", "/key/info?key="+id, "")["info"].(map[string]any)
		has(t, "key", info, map[string]any{"disable_global_guardrails": want})
		if m, _ := info["metadata"].(map[string]any); m["disable_global_guardrails"] != nil {
			t.Errorf("the metadata have the switch: %v", m)
		}
	}
	switched(true)
	h.Must("POST", "/key/update", `{"key":"`+id+`","metadata":{"b":2}}`)
	switched(true)
	h.Must("POST", "/key/update", `{"key":"`+id+`","metadata":{"disable_global_guardrails":false}}`)
	switched(false)
	h.Must("POST", "/key/update", `{"key":"`+id+`","disable_global_guardrails":false,"metadata":{"disable_global_guardrails":true}}`)
	switched(false)
	if a := h.Call(adminapitest.MasterKey, "POST", "/key/update", `{"key":"`+id+`","metadata":{"disable_global_guardrails":"yes"}}`); a.Status != 400 {
		t.Errorf("a text: got %d %s", a.Status, a.Body)
	}
	h.Must("POST", "/user/new", `{"user_id":"ada","user_role":"internal_user","auto_create_key":false}`)
	own, _ := h.Must("POST", "/key/generate", `{"user_id":"ada","key_type":"management"}`)["key"].(string)
	if a := h.Call(own, "POST", "/key/generate", `{"metadata":{"disable_global_guardrails":true}}`); a.Status != 403 {
		t.Errorf("of a user's own key: got %d %s, want 403", a.Status, a.Body)
	}
	if a := h.Call(own, "POST", "/key/generate", `{"metadata":{"x":true}}`); a.Status != 200 {
		t.Errorf("without it: got %d %s", a.Status, a.Body)
	}
}
