package node_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/node/nodetest"
)

// TestPolicies sets policies by the admin API and finds them held on the data path.
func TestPolicies(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 1)
	n := c.Nodes[0]
	k := c.Key(0, fields{"name": "k"})
	set := func(name, value string) {
		t.Helper()
		if status, body := n.Do("PUT", "/api/v1/settings/"+name, nodetest.MasterKey, `{"value":`+value+`}`); status != 200 && status != 201 {
			t.Fatalf("set %s: %d %s", name, status, body)
		}
	}
	ask := func(what string, status int, code, body string, header ...string) {
		t.Helper()
		got, answer := n.Do("POST", "/v1/chat/completions", k.Secret, body, header...)
		if got != status || !strings.Contains(string(answer), code) {
			t.Errorf("%s: got %d %.300s, want %d %s", what, got, answer, status, code)
		}
	}
	const plain = `{"model":"demo","messages":[{"role":"user","content":"hi"}]}`
	ask("nothing set", 200, "", plain)

	set("blocked_user_list", `"eve\nmallory"`)
	ask("in the list", 400, "customer_blocked", plain, "X-Litellm-End-User-Id", "eve")
	ask("in the body", 400, "customer_blocked", strings.Replace(plain, "{", `{"user":"mallory",`, 1))
	if status, body := n.Do("POST", "/api/v1/customers", nodetest.MasterKey, `{"id":"trent","blocked":true}`); status != 200 && status != 201 {
		t.Fatalf("block a customer: %d %s", status, body)
	}
	ask("by a record", 400, "customer_blocked", plain, "X-Litellm-Customer-Id", "trent")
	ask("somebody else", 200, "", plain, "X-Litellm-End-User-Id", "alice")

	set("enforced_params", `["metadata.cost_center"]`)
	ask("a missing parameter", 400, "metadata.cost_center", plain)
	ask("the parameter", 200, "", strings.Replace(plain, "{", `{"metadata":{"cost_center":"7"},`, 1))
	set("enforced_params", `[]`)

	set("trusted_proxies", `["127.0.0.1","::1"]`)
	set("allowed_ips", `["198.51.100.0/24"]`)
	ask("from an address", 403, "192.0.2.1", plain, "X-Forwarded-For", "198.51.100.7, 192.0.2.1")
	ask("from another", 200, "", plain, "X-Forwarded-For", "192.0.2.1, 198.51.100.7")
	if status, body := n.Do("GET", "/api/v1/keys", nodetest.MasterKey, nil, "X-Forwarded-For", "192.0.2.1"); status != 403 || !strings.Contains(string(body), "address_not_allowed") {
		t.Errorf("the admin API from an address: %d %s", status, body)
	}
	if status, _ := n.Do("PUT", "/api/v1/settings/allowed_ips", nodetest.MasterKey, `{"value":[]}`); status != 200 {
		t.Errorf("the machine itself is locked out: %d", status)
	}
	n.Do("POST", "/api/v1/teams", nodetest.MasterKey, `{"name":"from-afar"}`, "X-Forwarded-For", "6.6.6.6, 198.51.100.7")
	c.Await("the audit entry to say where the team came from", func() bool {
		_, body := n.Do("GET", "/api/v1/audit?kind=team", nodetest.MasterKey, nil)
		return strings.Contains(string(body), `"198.51.100.7"`) && !strings.Contains(string(body), "6.6.6.6")
	})
}
