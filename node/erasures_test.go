package node_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/resource"
)

// A person is forgotten on every node, on one that was down before it serves; amounts stay
// under a pseudonym, every total and chain verifies, and the receipt names who was not reached.
func TestErasure(t *testing.T) {
	const canary = "ada-lovelace-1815"
	c := nodetest.Start(t, 3)
	if status, b := c.Nodes[0].Do("POST", "/api/v1/settings", nodetest.MasterKey, fields{"id": "log_content", "value": true}); status/100 != 2 {
		t.Fatalf("log_content: got %d %s", status, b)
	}
	if status, b := c.Nodes[0].Do("POST", "/api/v1/customers", nodetest.MasterKey, fields{"id": canary, "budgets": []any{fields{"usd": 1000 * resource.Dollar, "per": "total"}}}); status != 201 {
		t.Fatalf("customer: got %d %s", status, b)
	}
	k := c.Key(0, fields{})
	other := 0
	send := func(user string) {
		for _, n := range c.Nodes {
			for range 3 {
				if status, b := n.Do("POST", "/v1/chat/completions", k.Secret, nodetest.ChatBody(fields{"user": user}), "x-litellm-session-id", "session-of-"+user); status != 200 {
					t.Fatalf("got %d %s", status, b)
				}
				other++
			}
		}
	}
	send(canary)
	send("somebody else")
	api := c.Nodes[1].Admin()
	cost := func(customer string) resource.Money {
		out, err := api.Spend(t.Context(), url.Values{"group_by": {"customer"}, "customer": {customer}})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Items) != 1 || out.Items[0].Requests != 9 {
			return -1
		}
		return out.Items[0].Cost
	}
	c.Await("all requests are in the log", func() bool { return cost(canary) > 0 && cost("somebody else") > 0 })
	before := cost(canary)
	lines := export(t, c.Nodes[2], canary)
	if lines["record"] != 1 || lines["request"] != 9 || lines["content"] != 9 || lines["audit"] == 0 {
		t.Errorf("export: got %v, want the record, 9 requests with contents, and audit entries", lines)
	}

	down := c.Nodes[0].ID()
	c.Nodes[0].Stop()
	status, b := c.Nodes[1].Do("POST", "/api/v1/customers/"+canary+"/erase", nodetest.MasterKey, nil)
	var e resource.Erasure
	if err := json.Unmarshal(b, &e); status != 200 || err != nil || e.Pseudonym == "" {
		t.Fatalf("erase: got %d %s", status, b)
	}
	receipt := func() (e2 resource.Erasure) {
		status, b := c.Nodes[2].Do("GET", "/api/v1/erasures/"+e.ID, nodetest.MasterKey, nil)
		if err := json.Unmarshal(b, &e2); err != nil || status != 200 && status != 404 { // 404: it has not heard yet
			t.Fatalf("receipt: got %d %s", status, b)
		}
		return e2
	}
	c.Await("both nodes that are up have forgotten", func() bool {
		reached := 0
		for _, n := range receipt().Nodes {
			if n.Stage >= resource.ErasureOwn {
				reached++
			}
		}
		return reached == 2
	})
	r := receipt()
	if n := r.Node(down); n == nil || n.Stage != 0 || r.DoneAt != 0 {
		t.Errorf("the receipt does not name the node that is down: %+v", r)
	}
	c.Nodes[0].Start()
	c.Await("the last node has forgotten", func() bool { return receipt().DoneAt != 0 })
	rows, kept := int64(0), int64(0)
	for _, n := range receipt().Nodes {
		rows, kept = rows+n.Rows, kept+n.Contents
	}
	if rows != 9 || kept != 9 || receipt().Subject != "" {
		t.Errorf("receipt: %d rows and %d contents, want 9 and 9: %+v", rows, kept, receipt())
	}
	if got := cost(r.Pseudonym); got != before {
		t.Errorf("under the pseudonym: %s, want %s", got, before)
	}
	if got := cost(canary); got != -1 {
		t.Errorf("under the name: %s, want nothing", got)
	}
	c.Await("the ledger adds up", func() bool {
		v, err := api.VerifyLedger(t.Context())
		if err != nil || len(v.Missing)+len(v.Differences) > 0 {
			t.Logf("verify: %v %+v", err, v)
			return false
		}
		return true
	})
	if lines := export(t, c.Nodes[2], canary); lines["record"]+lines["request"]+lines["content"] != 0 {
		t.Errorf("export afterwards: got %v", lines)
	}
	for _, n := range c.Nodes {
		n.Stop()
		for _, dir := range []string{"requests/content", "journal"} {
			if paths := holding(t, n.Dir+"/"+dir, canary); len(paths) > 0 {
				t.Errorf("the name is still in %v", paths)
			}
		}
	}
}

// export counts the lines of an export by their type.
func export(t *testing.T, n *nodetest.Node, id string) map[string]int {
	t.Helper()
	return exportOf(t, n, "customers/"+id)
}

func exportOf(t *testing.T, n *nodetest.Node, who string) map[string]int {
	t.Helper()
	status, b := n.Do("GET", "/api/v1/"+who+"/export", nodetest.MasterKey, nil)
	if status != 200 {
		t.Fatalf("export: got %d %s", status, b)
	}
	lines := map[string]int{}
	for text := range strings.Lines(string(b)) {
		var l struct{ Type string }
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(fmt.Errorf("line %q: %w", text, err))
		}
		lines[l.Type]++
	}
	return lines
}

// With a user go his keys and places in teams; what he spent, there too, stays under the pseudonym.
func TestErasure_user(t *testing.T) {
	c := nodetest.Start(t, 1)
	n, api := c.Nodes[0], c.Nodes[0].Admin()
	for _, r := range []struct {
		path string
		in   fields
	}{
		{"users", fields{"id": "ada", "email": "ada@example.org"}},
		{"teams", fields{"id": "t1"}},
		{"teams/t1/members", fields{"user_id": "ada"}},
	} {
		if status, b := n.Do("POST", "/api/v1/"+r.path, nodetest.MasterKey, r.in); status != 201 {
			t.Fatalf("%s: got %d %s", r.path, status, b)
		}
	}
	k := c.Key(0, fields{"user_id": "ada", "team_id": "t1"})
	for range 4 {
		if status, b := n.Chat(k.Secret); status != 200 {
			t.Fatalf("got %d %s", status, b)
		}
	}
	turn := resource.Response{ID: "resp_1", Owners: resource.Owners{UserID: "ada", KeyID: k.ID}, ExpiresAt: resource.At(time.Now().Add(time.Hour))}
	if err := n.Turns().Put(t.Context(), turn, []byte(`{"id":"resp_1"}`)); err != nil {
		t.Fatal(err)
	}
	if lines := exportOf(t, n, "users/ada"); lines["record"] != 1 || lines["key"] != 1 || lines["membership"] != 1 || lines["turn"] != 1 {
		t.Errorf("export: got %v, want the record, a key, a membership and a turn", lines)
	}
	if _, err := api.Erase(t.Context(), "customer", resource.PseudonymPrefix+"1"); err == nil {
		t.Error("a pseudonym is erased again")
	}
	e, err := api.Erase(t.Context(), "user", "ada@example.org")
	if err != nil {
		t.Fatal(err)
	}
	c.Await("the node has forgotten", func() bool {
		r, err := api.Erasure(t.Context(), e.ID)
		return err == nil && r.DoneAt != 0 && r.Nodes[0].Contents == 1
	})
	if _, _, err := n.Turns().Get(t.Context(), "resp_1"); err == nil {
		t.Error("the stored turn is still there")
	}
	if status, _ := n.Chat(k.Secret); status != 401 {
		t.Errorf("the user's key: got %d, want 401", status)
	}
	c.Await("the ledger adds up", func() bool {
		v, err := api.VerifyLedger(t.Context())
		return err == nil && len(v.Missing)+len(v.Differences) == 0
	})
	out, err := api.Spend(t.Context(), url.Values{"group_by": {"user"}, "user": {e.Pseudonym}})
	if err != nil || len(out.Items) != 1 || out.Items[0].Requests != 4 || out.Items[0].Cost != c.Bill() {
		t.Errorf("under the pseudonym: got %+v, %v, want 4 requests for %s", out.Items, err, c.Bill())
	}
	if status, b := n.Do("GET", "/api/v1/audit?action=order_erasure", nodetest.MasterKey, nil); status != 200 || strings.Contains(string(b), "example.org") {
		t.Errorf("audit: got %d %s", status, b)
	}
}
