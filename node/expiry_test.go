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
	do := func(method, path string, in fields) {
		t.Helper()
		if status, body := c.Nodes[0].Do(method, "/api/v1/"+path, nodetest.MasterKey, in); status >= 300 {
			t.Fatalf("%s %s: %d %s", method, path, status, body)
		}
	}
	do("POST", "organizations", fields{"id": "o", "name": "o"})
	do("POST", "teams", fields{"id": "of-o", "organization_id": "o"})
	do("POST", "teams", fields{"id": "ending"})
	do("POST", "teams", fields{"id": "t"})
	do("POST", "projects", fields{"id": "p", "name": "p", "team_id": "t"})
	do("POST", "users", fields{"id": "u"})
	do("POST", "users", fields{"id": "m"})
	do("POST", "teams/t/members", fields{"user_id": "m"})
	do("POST", "customers", fields{"id": "c"})
	do("POST", "tags", fields{"id": "g"})
	key := func(in fields) string { return c.Key(0, in).Secret }
	plain, ending := key(fields{}), c.Key(0, fields{})
	probes := []struct {
		code, path, secret string
		header             []string
	}{
		{code: "organization_expired", path: "organizations/o", secret: key(fields{"team_id": "of-o"})},
		{code: "team_expired", path: "teams/ending", secret: key(fields{"team_id": "ending"})},
		{code: "project_expired", path: "projects/p", secret: key(fields{"team_id": "t", "project_id": "p"})},
		{code: "user_expired", path: "users/u", secret: key(fields{"user_id": "u"})},
		{code: "member_expired", path: "teams/t/members/m", secret: key(fields{"team_id": "t", "user_id": "m"})},
		{code: "expired_key", path: "keys/" + ending.ID, secret: ending.Secret},
		{code: "customer_expired", path: "customers/c", secret: plain, header: []string{"X-Litellm-End-User-Id", "c"}},
		{code: "tag_expired", path: "tags/g", secret: plain, header: []string{"X-Litellm-Tags", "g"}},
	}
	var end, known time.Time // known: by when every node knows the end
	ask := func(i int, n *nodetest.Node) (over bool) {
		p, began := &probes[i], time.Now()
		status, body := n.Do("POST", "/v1/chat/completions", p.secret, nodetest.ChatBody(nil), p.header...)
		switch {
		case status == 200:
			if late := min(began.Sub(end), began.Sub(known)); late > time.Second && !end.IsZero() {
				t.Errorf("%s on %s: still served %s later", p.code, n.Name, late)
			}
			return false
		case strings.Contains(string(body), p.code):
			if early := time.Until(end); early > time.Second || end.IsZero() {
				t.Errorf("%s on %s: refused %s before", p.code, n.Name, early)
			}
		default:
			t.Errorf("%s on %s: got %d %s", p.code, n.Name, status, body)
		}
		return true
	}
	for i := range probes {
		for _, n := range c.Nodes {
			if ask(i, n) {
				t.Fatalf("%s on %s: refused before it has an end", probes[i].code, n.Name)
			}
		}
	}
	end = time.Now().Add(2 * time.Second).UTC().Truncate(time.Millisecond)
	for i := range probes {
		do("PATCH", probes[i].path, fields{"expires_at": end.Format(time.RFC3339Nano)})
	}
	c.Key(0, fields{}) // and what was written before it is on every node, too
	known = time.Now()
	c.Await("every node to refuse every holder", func() bool {
		all := true
		for i := range probes {
			for _, n := range c.Nodes {
				all = ask(i, n) && all
			}
		}
		return all
	})
	if status, body := c.Nodes[1].Do("POST", "/v1/chat/completions", plain, nodetest.ChatBody(nil)); status != 200 {
		t.Errorf("who has not expired: %d %s", status, body)
	}
}
