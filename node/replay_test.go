package node_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/node/nodetest"
)

// TestReplay decides a request of the past again while what is stored changes around it: by the judge that
// decides the file of a case.
func TestReplay(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 1)
	n := c.Nodes[0]
	must := func(method, path string, in any) {
		t.Helper()
		if status, body := n.Do(method, path, nodetest.MasterKey, in); status >= 300 {
			t.Fatalf("%s %s: %d %s", method, path, status, body)
		}
	}
	must("POST", "/api/v1/teams", fields{"id": "team_a"})
	k := c.Key(0, fields{"id": "key_0", "team_id": "team_a", "allowed_ips": []string{"127.0.0.0/8"}})
	c.Await("a request that is served", func() bool {
		status, _ := n.Do("POST", "/v1/chat/completions", k.Secret, nodetest.ChatBody(nil), "x-request-id", "r0")
		return status == 200
	})
	replay := func() *client.Replay {
		t.Helper()
		var got client.Explanation
		c.Await("the row", func() bool {
			var err error
			got, err = n.Admin().Explain(t.Context(), "r0", url.Values{"replay": {"true"}})
			return err == nil
		})
		return got.Items[0].Replay
	}
	for _, tt := range []struct {
		name, method, path string
		body               any
		decision, code     string
		scope              string
	}{
		{"as it was", "GET", "/api/v1/teams", nil, "served", "", ""},
		{"the team is blocked", "POST", "/api/v1/teams/team_a/block", nil, "refused", "team_blocked", "team"},
		{"and no more", "POST", "/api/v1/teams/team_a/unblock", nil, "served", "", ""},
		{"the team has expired", "PATCH", "/api/v1/teams/team_a", fields{"expires_at": "2020-01-01T00:00:00Z"}, "refused", "team_expired", "team"},
		{"and no more", "PATCH", "/api/v1/teams/team_a", fields{"expires_at": nil}, "served", "", ""},
		{"no money for its models", "POST", "/api/v1/access-groups", fields{"id": "ag_0", "name": "all", "models": []string{"de*"}, "budgets": []any{fields{"usd": 0, "per": "day"}}}, "refused", "budget_exceeded", "access_group"},
		{"and money again", "DELETE", "/api/v1/access-groups/ag_0", nil, "served", "", ""},
		{"another model only", "PATCH", "/api/v1/keys/key_0", fields{"models": []string{"other"}}, "refused", "model_access_denied", "key"},
		{"an alias to nothing", "PATCH", "/api/v1/keys/key_0", fields{"models": nil, "aliases": fields{"demo": "gone"}}, "refused", "model_not_found", ""},
		{"other addresses", "PATCH", "/api/v1/keys/key_0", fields{"aliases": nil, "allowed_ips": []string{"10.0.0.0/8"}}, "refused", "address_not_allowed", "key"},
		{"another route", "PATCH", "/api/v1/keys/key_0", fields{"allowed_ips": nil, "routes": []string{"/v1/embeddings"}}, "refused", "route_not_allowed", "key"},
		{"no money", "PATCH", "/api/v1/keys/key_0", fields{"routes": nil, "budgets": []any{fields{"usd": 0, "per": "day"}}}, "refused", "budget_exceeded", "key"},
		{"the key is gone", "DELETE", "/api/v1/keys/key_0", nil, "refused", "invalid_api_key", ""},
	} {
		must(tt.method, tt.path, tt.body)
		got := replay()
		if got.Decision != tt.decision || got.Code != tt.code || got.Scope != tt.scope || !got.Judged {
			t.Errorf("%s: got %+v", tt.name, got)
			continue
		}
		if (len(got.Differences) > 0) != (tt.decision == "refused") {
			t.Errorf("%s: differences %q", tt.name, got.Differences)
		}
		if tt.decision == "refused" && !strings.Contains(got.Differences[0], got.Code) {
			t.Errorf("%s: differences %q", tt.name, got.Differences)
		}
	}
}
