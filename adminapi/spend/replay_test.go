package spend_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/ledger/evidence"
	"github.com/conclave-llm/conclave/resource"
)

// TestCase exports a request with what decides about it, for those alone who may see all.
func TestCase(t *testing.T) {
	t.Parallel()
	h, secret := start(t)
	a := h.Call(adminapitest.MasterKey, "GET", "/api/v1/requests/r0/case", "")
	if a.Status != 200 {
		t.Fatalf("got %d %s", a.Status, a.Body)
	}
	c, err := evidence.Read(strings.NewReader(string(a.Body)))
	if err != nil || len(c.Requests) != 1 || c.Requests[0].RequestID != "r0" || len(c.State.Keys) != 1 || c.State.Keys[0].ID != "key_0" || len(c.State.Teams) != 1 {
		t.Fatalf("got %s, %v", a.Body, err)
	}
	if k := c.State.Keys[0]; k.Hash != (resource.Hash{}) || k.Hint != "" {
		t.Errorf("the case has a key's hash or hint: %s", a.Body)
	}
	if a := h.Call(secret, "GET", "/api/v1/requests/r0/case", ""); a.Status != 403 {
		t.Errorf("a key of inference gets %d %s", a.Status, a.Body)
	}
	if a := h.Call(adminapitest.MasterKey, "GET", "/api/v1/requests/none/case", ""); a.Status != 404 {
		t.Errorf("an unknown request: %d %s", a.Status, a.Body)
	}
}

// TestReplay decides a request of the past again while what is stored changes around it.
func TestReplay(t *testing.T) {
	t.Parallel()
	h, secret := start(t)
	replay := func(id string) map[string]any {
		t.Helper()
		a := h.Call(adminapitest.MasterKey, "GET", "/api/v1/requests/"+id+"?replay=true", "")
		if a.Status != 200 {
			t.Fatalf("got %d %s", a.Status, a.Body)
		}
		out, _ := at(a.Object(t), "items.0.replay").(map[string]any)
		return out
	}
	for _, tt := range []struct {
		name, method, path, body string
		decision, code           string
		differ                   []string // in the differences, in this order; all of them
	}{
		{"there is no model any more", "GET", "/api/v1/teams", "", "refused", "model_not_found", []string{"would be refused: there is no model", "the deployment dep, which answered"}},
		{"no deployment", "POST", "/api/v1/models", `{"id":"m","name":"demo"}`, "refused", "no_deployments", []string{"would be refused: the model has no deployment", "the deployment dep"}},
		{"as it was", "POST", "/api/v1/deployments", `{"id":"dep","model_id":"m","provider":"openai","model":"d","price":{"input":0,"output":0,"request":0.01}}`, "served", "", nil},
		{"another price", "PATCH", "/api/v1/deployments/dep", `{"price":{"input":1000,"output":2000,"cache_read":0}}`, "served", "", []string{"it cost 0.01, and would cost 0.026"}},
		{"back", "PATCH", "/api/v1/deployments/dep", `{"price":{"input":0,"output":0,"request":0.01}}`, "served", "", nil},
		{"the team is blocked", "POST", "/api/v1/teams/team_a/block", "", "refused", "team_blocked", []string{"would be refused: the team is blocked"}},
		{"and no more", "POST", "/api/v1/teams/team_a/unblock", "", "served", "", nil},
		{"another model only", "PATCH", "/api/v1/keys/key_0", `{"models":["other"]}`, "refused", "model_access_denied", []string{"would be refused: the models of the key"}},
		{"an alias", "PATCH", "/api/v1/keys/key_0", `{"models":null,"aliases":{"demo":"gone"}}`, "refused", "model_not_found", []string{"would be refused", "the deployment dep"}},
		{"no money", "PATCH", "/api/v1/keys/key_0", `{"aliases":null,"budgets":[{"usd":0,"per":"day"}]}`, "refused", "budget_exceeded", []string{"the budget day of the key is spent"}},
		{"the key is gone", "DELETE", "/api/v1/keys/key_0", "", "refused", "invalid_api_key", []string{"the key was deleted", "the deployment dep"}},
	} {
		if a := h.Call(adminapitest.MasterKey, tt.method, tt.path, tt.body); a.Status >= 300 {
			t.Fatalf("%s: %d %s", tt.name, a.Status, a.Body)
		}
		got := replay("r0")
		var differ []string
		if list, ok := got["differences"].([]any); ok {
			for _, d := range list {
				differ = append(differ, fmt.Sprint(d))
			}
		}
		code, _ := got["code"].(string)
		ok := got["decision"] == tt.decision && code == tt.code && len(differ) == len(tt.differ)
		for i := range tt.differ {
			ok = ok && strings.Contains(differ[i], tt.differ[i])
		}
		if !ok {
			t.Errorf("%s: got %v", tt.name, got)
		}
	}
	if a := h.Call(secret, "GET", "/api/v1/requests/r1?replay=true", ""); a.Status == 200 {
		t.Errorf("a key replays the request of another: %s", a.Body)
	}
}
