package node_test

import (
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/nodetest"
)

// TestExpiry lets every kind of holder expire at the same moment, and watches all nodes: none refuses before
// it, none serves a second after it.
func TestExpiry(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	api := c.Nodes[0].Admin()
	create := func(path string, in fields) {
		t.Helper()
		if status, body := c.Nodes[0].Do("POST", "/api/v1/"+path, nodetest.MasterKey, in); status >= 300 {
			t.Fatalf("%s: %d %s", path, status, body)
		}
	}
	end := time.Now().Add(4 * time.Second).UTC().Truncate(time.Millisecond)
	at := end.Format(time.RFC3339Nano)
	create("organizations", fields{"id": "o", "name": "o", "expires_at": at})
	create("teams", fields{"id": "of-o", "organization_id": "o"})
	create("teams", fields{"id": "ending", "expires_at": at})
	create("teams", fields{"id": "t"})
	create("projects", fields{"id": "p", "name": "p", "team_id": "t", "expires_at": at})
	create("users", fields{"id": "u", "expires_at": at})
	create("users", fields{"id": "m"})
	create("teams/t/members", fields{"user_id": "m", "expires_at": at})
	create("customers", fields{"id": "c", "expires_at": at})
	create("tags", fields{"id": "g", "expires_at": at})
	key := func(in fields) string { return c.Key(0, in).Secret }
	plain := key(fields{})
	type probe struct {
		code, secret string
		header       []string
		served, over int
	}
	probes := []*probe{
		{code: "organization_expired", secret: key(fields{"team_id": "of-o"})},
		{code: "team_expired", secret: key(fields{"team_id": "ending"})},
		{code: "project_expired", secret: key(fields{"team_id": "t", "project_id": "p"})},
		{code: "user_expired", secret: key(fields{"user_id": "u"})},
		{code: "member_expired", secret: key(fields{"team_id": "t", "user_id": "m"})},
		{code: "expired_key", secret: key(fields{"expires_at": at})},
		{code: "customer_expired", secret: plain, header: []string{"X-Litellm-End-User-Id", "c"}},
		{code: "tag_expired", secret: plain, header: []string{"X-Litellm-Tags", "g"}},
	}
	c.Sync(api)
	ask := func(p *probe, n *nodetest.Node) (over bool) {
		began := time.Now()
		status, body := n.Do("POST", "/v1/chat/completions", p.secret, nodetest.ChatBody(nil), p.header...)
		switch {
		case status == 200:
			p.served++
			if late := began.Sub(end); late > time.Second {
				t.Errorf("%s on %s: still served %s later", p.code, n.Name, late)
			}
			return false
		case strings.Contains(string(body), p.code):
			p.over++
			if early := time.Until(end); early > time.Second {
				t.Errorf("%s on %s: refused %s before", p.code, n.Name, early)
			}
			return true
		default:
			t.Errorf("%s on %s: got %d %s", p.code, n.Name, status, body)
			return true
		}
	}
	c.Await("every node to refuse every holder", func() bool {
		all := true
		for _, p := range probes {
			for _, n := range c.Nodes {
				all = ask(p, n) && all
			}
		}
		return all
	})
	for _, p := range probes {
		if p.served == 0 || p.over == 0 {
			t.Errorf("%s: %d requests were served before, %d refused after: the test was too slow", p.code, p.served, p.over)
		}
	}
	if status, body := c.Nodes[1].Do("POST", "/v1/chat/completions", plain, nodetest.ChatBody(nil)); status != 200 {
		t.Errorf("who has not expired: %d %s", status, body)
	}
}
