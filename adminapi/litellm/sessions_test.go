package litellm_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
)

// TestSessions: the limits of agents' sessions bound them, wherever LiteLLM's clients write them.
func TestSessions(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	key := h.Must("POST", "/key/generate", `{"key_alias":"k","max_budget_per_session":1,"max_iterations":5,"session_tpm_limit":100,"session_rpm_limit":10}`)
	has(t, "key", key, map[string]any{"max_budget_per_session": 1.0, "max_iterations": 5.0, "session_tpm_limit": 100.0, "session_rpm_limit": 10.0})
	k, _ := h.State.KeyByName("k")
	if s := k.Sessions; s == nil || s.Budget != 1e9 || s.Iterations != 5 || *s.TPM != 100 || *s.RPM != 10 {
		t.Fatalf("got %+v", s)
	}
	info, _ := h.Must("GET", "/key/info?key=k", "")["info"].(map[string]any)
	has(t, "info", info, map[string]any{"max_iterations": 5.0, "require_trace_id": false})
	has(t, "null clears", h.Must("POST", "/key/update", `{"key":"k","max_iterations":null,"session_rpm_limit":3}`), map[string]any{
		"max_budget_per_session": 1.0, "max_iterations": nil, "session_tpm_limit": 100.0, "session_rpm_limit": 3.0,
	})
	has(t, "team", h.Must("POST", "/team/new", `{"team_id":"t","metadata":{"a":1,"max_iterations":7}}`), map[string]any{
		"max_iterations": 7.0, "metadata": map[string]any{"a": 1.0},
	})
	has(t, "user", h.Must("POST", "/user/new", `{"user_id":"u","max_budget_per_session":2,"auto_create_key":false}`), map[string]any{"max_budget_per_session": 2.0})
	has(t, "nothing", h.Must("POST", "/key/generate", `{"key_alias":"plain","max_iterations":null}`), map[string]any{"max_iterations": nil})
	if k, _ := h.State.KeyByName("plain"); k.Sessions != nil {
		t.Errorf("null made limits: %+v", k.Sessions)
	}
	for _, body := range []string{
		`{"max_iterations":0}`, `{"max_budget_per_session":0}`, `{"max_iterations":"many"}`, `{"metadata":{"max_iterations":-1}}`, `{"session_rpm_limit":-1}`,
	} {
		a := h.Call(adminapitest.MasterKey, "POST", "/key/generate", body)
		if name := strings.Split(body, `"`)[1]; a.Status != 400 || name != "metadata" && !strings.Contains(string(a.Body), name) {
			t.Errorf("%s: got %d %s, want 400", body, a.Status, a.Body)
		}
	}
}

// TestBudgetLimits_Cleared: null and [] take away what a row shows as budget_limits.
func TestBudgetLimits_Cleared(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for name, tt := range map[string]struct {
		body, want string
		max        any
	}{
		"null":                    {`"budget_limits":null`, "[]", nil},
		"empty":                   {`"budget_limits":[]`, "[]", nil},
		"and another":             {`"budget_limits":null,"max_budget":7`, "[day]", 7.0},
		"nothing":                 {`"rpm_limit":1`, "[day month]", 1.0},
		"and one of a model":      {`"budget_limits":[],"model_max_budget":{"demo":{"max_budget":3}}`, "[model_demo]", nil},
		"all of it, as one knows": {`"budget_limits":null,"max_budget":null`, "[]", nil},
	} {
		h.Must("POST", "/key/generate", `{"key_alias":"`+name+`","budget_limits":[{"budget_duration":"1d","max_budget":1},{"budget_duration":"30d","max_budget":9}]}`)
		row := h.Must("POST", "/key/update", `{"key":"`+name+`",`+tt.body+`}`)
		k, _ := h.State.KeyByName(name)
		names := []string{}
		for _, b := range k.Budgets {
			names = append(names, b.Name)
		}
		if got := "[" + strings.Join(names, " ") + "]"; got != tt.want || row["max_budget"] != tt.max {
			t.Errorf("%s: got %s with %v, want %s with %v", name, got, row["max_budget"], tt.want, tt.max)
		}
	}
	h.Must("POST", "/key/generate", `{"key_alias":"single","max_budget":1,"budget_duration":"1d"}`)
	has(t, "a single one is max_budget's", h.Must("POST", "/key/update", `{"key":"single","budget_limits":null}`), map[string]any{"max_budget": 1.0, "budget_duration": "1d"})
}
