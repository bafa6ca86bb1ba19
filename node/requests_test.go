package node_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/resource"
)

// row is what the tests read of a request.
type row struct {
	RequestID string         `json:"request_id"`
	Node      string         `json:"node"`
	KeyID     string         `json:"key_id"`
	Status    int            `json:"status"`
	Cost      resource.Money `json:"cost"`
	Count     int64          `json:"count"`
}

// allRows exports the requests of the cluster.
func allRows(t *testing.T, n *nodetest.Node, q url.Values) (rows []row) {
	t.Helper()
	var b bytes.Buffer
	q.Set("format", "json")
	if err := n.Admin().Export(t.Context(), "requests", q, &b); err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(&b)
	for dec.More() {
		var r row
		if err := dec.Decode(&r); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, r)
	}
	return rows
}

// Whatever dies, each request has one row on one node, and rows, sums and replicated totals
// say the same. A node that does not answer is named.
func TestRequests_agree(t *testing.T) {
	c := nodetest.Start(t, 3)
	k := c.Key(0, fields{"tags": []string{"x"}})
	served := 0
	send := func(node *nodetest.Node, n int) {
		for range n {
			if status, _ := node.Do("POST", "/v1/chat/completions", k.Secret, nodetest.ChatBody(fields{"user": "cust"}), "x-request-id", fmt.Sprintf("r-%d", served)); status == 200 {
				served++
			}
		}
	}
	for round := range 3 {
		for _, n := range c.Nodes {
			send(n, 5)
		}
		c.Nodes[round].Kill()
		c.Nodes[round].Start()
	}
	api := c.Nodes[1].Admin()
	spend := func(q url.Values) client.Spend {
		out, err := api.Spend(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	c.Await("all requests are in the log", func() bool {
		out := spend(url.Values{"group_by": {"key"}, "key": {k.ID}})
		return len(out.MissingNodes) == 0 && len(out.Items) == 1 && out.Items[0].Requests == int64(served)
	})
	sum, ids := resource.Money(0), map[string]bool{}
	for _, r := range allRows(t, c.Nodes[2], url.Values{"key": {k.ID}}) {
		sum += r.Cost
		if ids[r.RequestID] {
			t.Errorf("request %s has two rows", r.RequestID)
		}
		ids[r.RequestID] = true
	}
	if len(ids) != served || sum != c.Bill() {
		t.Errorf("%d rows for %d requests, %s for a bill of %s", len(ids), served, sum, c.Bill())
	}
	for _, by := range []string{"key", "model", "provider", "tag", "customer"} {
		out := spend(url.Values{"group_by": {by}, "granularity": {"day"}, "key": {k.ID}})
		if len(out.Items) != 1 || out.Items[0].Cost != sum {
			t.Errorf("by %s: %+v, want %s", by, out.Items, sum)
		}
	}
	c.Await("the ledger adds up", func() bool {
		v, err := api.VerifyLedger(t.Context())
		if err != nil || len(v.Missing) > 0 || len(v.Differences) > 0 {
			t.Logf("verify: %v, missing %v, differences %q", err, v.Missing, v.Differences)
			return false
		}
		return v.Compared > 0
	})
	c.Nodes[0].Stop()
	if out := spend(url.Values{"group_by": {"key"}}); !slices.Equal(out.MissingNodes, []string{c.Nodes[0].Name}) {
		t.Errorf("missing nodes: %v", out.MissingNodes)
	}
	if v, err := api.VerifyLedger(t.Context()); err != nil || len(v.Missing) != 1 {
		t.Errorf("verify without a node: %v, missing %v", err, v.Missing)
	}
}

// Every refusal can be explained.
func TestRequests_explain(t *testing.T) {
	c := nodetest.Start(t, 1)
	n := c.Nodes[0]
	poor := c.Key(0, fields{"budgets": budgetOf(1)})
	free := c.Key(0, fields{})
	slow := c.Key(0, fields{"limits": fields{"rpm": 1}})
	c.Await("the only request of the minute", func() bool {
		status, _ := n.Chat(slow.Secret) // which a node that has just started may refuse
		return status == 200
	})
	bound := c.Key(0, fields{"models": []string{"other"}})
	for _, tt := range []struct {
		name, key, model string
		status           int
		step, rule       string
	}{
		{"served", free.Secret, "demo", 200, "", ""},
		{"limit", slow.Secret, "demo", 429, "limits", "limit"},
		{"budget", poor.Secret, "demo", 429, "budget", "udget"},
		{"model", bound.Secret, "demo", 403, "access", "may not use"},
		{"unknown", poor.Secret, "nothing", 404, "access", "does not exist"},
	} {
		body := nodetest.ChatBody(fields{"model": tt.model})
		if status, b := n.Do("POST", "/v1/chat/completions", tt.key, body, "x-request-id", tt.name); status != tt.status {
			t.Errorf("%s: got %d %s, want %d", tt.name, status, b, tt.status)
			continue
		}
		var got client.Explanation
		c.Await("the row of "+tt.name, func() bool {
			var err error
			got, err = n.Admin().Explain(t.Context(), tt.name, nil)
			return err == nil
		})
		var receipt struct{ Step, Rule, Decision string }
		if err := json.Unmarshal(got.Items[0].Receipt, &receipt); err != nil {
			t.Fatal(err)
		}
		if receipt.Step != tt.step || !strings.Contains(receipt.Rule, tt.rule) || len(got.Items[0].Explanation) == 0 {
			t.Errorf("%s: got %+v\n%s", tt.name, receipt, strings.Join(got.Items[0].Explanation, "\n"))
		}
	}
	if status, _ := n.Do("GET", "/api/v1/requests/budget", free.Secret, nil); status != 404 {
		t.Errorf("a request of another key: got %d", status)
	}
	if status, _ := n.Do("GET", "/api/v1/requests/served", free.Secret, nil); status != 200 {
		t.Errorf("a request of its own: got %d", status)
	}
}

// holding lists the files under the folder that hold the text.
func holding(t *testing.T, dir, text string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(text)) {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// What a request said is kept if the cluster wants it and nobody in the chain says no, and
// then nobody reads it in the files. What was kept is removed when its team says no later.
func TestRequests_contents(t *testing.T) {
	texts := map[string]string{"loud": "LOUDCANARY", "quiet": "QUIETCANARY", "early": "EARLYCANARY"}
	c := nodetest.Start(t, 1)
	n, api := c.Nodes[0], c.Nodes[0].Admin()
	for _, team := range []fields{{"id": "loud"}, {"id": "quiet", "log_content": false}} {
		if _, err := api.Teams().Create(t.Context(), team); err != nil {
			t.Fatal(err)
		}
	}
	keys := map[string]client.Key{"loud": c.Key(0, fields{"team_id": "loud"}), "quiet": c.Key(0, fields{"team_id": "quiet"})}
	say := func(key, what string) {
		for _, stream := range []bool{false, true} {
			body := nodetest.ChatBody(fields{"stream": stream, "messages": []fields{{"role": "user", "content": texts[what]}}})
			if status, b := n.Do("POST", "/v1/chat/completions", key, body, "x-request-id", fmt.Sprintf("%s-%v", what, stream)); status != 200 {
				t.Fatalf("got %d %s", status, b)
			}
		}
	}
	said := func(id string) string {
		out, err := api.Explain(t.Context(), id, url.Values{"content": {"true"}})
		if err != nil || out.Content == nil {
			return ""
		}
		return out.Content.Request + out.Content.Response
	}
	say(keys["loud"].Secret, "early") // before the cluster wants it
	if _, err := api.Settings().Create(t.Context(), fields{"id": "log_content", "value": true}); err != nil {
		t.Fatal(err)
	}
	say(keys["loud"].Secret, "loud")
	say(keys["quiet"].Secret, "quiet")
	for _, id := range []string{"loud-true", "loud-false"} {
		c.Await("the content of "+id, func() bool {
			return strings.Contains(said(id), texts["loud"]) && strings.Contains(said(id), "choices")
		})
	}
	for _, id := range []string{"quiet-true", "quiet-false", "early-false"} {
		if got := said(id); got != "" {
			t.Errorf("%s was kept: %s", id, got)
		}
	}
	if status, b := n.Do("GET", "/spend/logs/ui/loud-false", nodetest.MasterKey, nil); status != 200 || !bytes.Contains(b, []byte(texts["loud"])) {
		t.Errorf("LiteLLM's path: got %d %s", status, b)
	}
	if status, b := n.Do("GET", "/api/v1/requests/loud-false?content=true", keys["quiet"].Secret, nil); status != 404 {
		t.Errorf("another key reads the content: %d %s", status, b)
	}
	for _, text := range texts {
		if paths := holding(t, n.Dir, text); len(paths) > 0 {
			t.Errorf("%s stands in %v", text, paths)
		}
	}
	if _, err := api.Teams().Patch(t.Context(), "loud", fields{"log_content": false}); err != nil {
		t.Fatal(err)
	}
	c.Await("the content is gone", func() bool { return said("loud-true") == "" })
}
