package node_test

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/resource"
)

// Pricing anew books each difference once, on the node that served the request, and every
// total and the budget have it; the requests and their old cost stay as they were.
func TestReprice(t *testing.T) {
	c := nodetest.Start(t, 3)
	k := c.Key(0, fields{"budgets": []any{fields{"usd": 1000 * resource.Dollar, "per": "total"}, fields{"tokens": 1_000_000, "per": "day"}}, "tags": []string{"x"}})
	for _, n := range c.Nodes {
		for range 4 {
			if status, b := n.Do("POST", "/v1/chat/completions", k.Secret, nodetest.ChatBody(fields{"user": "cust"})); status != 200 {
				t.Fatalf("got %d %s", status, b)
			}
		}
	}
	api := c.Nodes[1].Admin()
	old := c.Bill()
	const before = 12
	book := func(price string) (r client.Repriced) {
		t.Helper()
		r, err := api.Reprice(t.Context(), json.RawMessage(price), url.Values{"model": {"demo"}})
		if err != nil || len(r.MissingNodes) > 0 || len(r.Items) != 1 {
			t.Fatalf("got %+v, %v", r, err)
		}
		return r
	}
	agree := func(cost resource.Money) {
		t.Helper()
		c.Await("totals, rows and the budget have the new cost", func() bool {
			for _, by := range []string{"key", "tag", "customer"} {
				out, err := api.Spend(t.Context(), url.Values{"group_by": {by}, "key": {k.ID}})
				if err != nil || len(out.Items) != 1 || out.Items[0].Cost != cost || out.Items[0].Requests != 12 {
					return false
				}
			}
			total, err := api.Usage(t.Context(), "key", k.ID, "", "")
			v, err2 := api.VerifyLedger(t.Context())
			if err != nil || err2 != nil || total[0].Cost != cost || total[0].Requests != 12 || len(v.Differences) > 0 || len(v.Missing) > 0 {
				t.Logf("total %+v, want %s, differences %v", total, cost, v.Differences)
				return false
			}
			e, err := api.Effective(t.Context(), k.ID, nil)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := json.Marshal(e)
			return strings.Contains(string(b), cost.String())
		})
	}
	if p, err := api.PreviewReprice(t.Context(), json.RawMessage(`{"input": 3, "output": 7}`), url.Values{}); err != nil || p.Items[0].Cost != old || p.Items[0].Booked != 0 {
		t.Fatalf("preview: got %+v, %v", p, err)
	}
	high := book(`{"input": 3, "output": 7}`)
	if high.Items[0].Booked != 12 || high.Items[0].Cost != old {
		t.Fatalf("got %+v, want 12 adjustments of what cost %s", high, old)
	}
	agree(high.Items[0].Repriced)
	if again := book(`{"input": 3, "output": 7}`); again.Items[0].Booked != 0 || again.Items[0].Change != 0 {
		t.Errorf("again: got %+v, want nothing booked", again)
	}
	low := book(`{"input": 0.1, "output": 0.2}`)
	if low.Items[0].Booked != 12 || low.Items[0].Change >= 0 {
		t.Errorf("lower: got %+v", low)
	}
	agree(low.Items[0].Repriced)

	rows := allRows(t, c.Nodes[2], url.Values{"key": {k.ID}})
	if len(rows) != before+24 {
		t.Errorf("got %d rows, want %d requests and 24 adjustments", len(rows), before)
	}
	served := resource.Money(0)
	for _, r := range rows {
		if r.Count > 0 {
			served += r.Cost
		}
	}
	if served != old {
		t.Errorf("the requests cost %s, want %s as before", served, old)
	}
	why, err := api.Explain(t.Context(), rows[0].RequestID, nil)
	if err != nil || len(why.Items) != 3 {
		t.Fatalf("got %+v, %v", why.Items, err)
	}
	if !slices.ContainsFunc(why.Items[0].Explanation, func(s string) bool { return strings.Contains(s, "Adjusted") }) {
		t.Errorf("got %q", why.Items[0].Explanation)
	}
	if status, b := c.Nodes[0].Do("GET", "/api/v1/audit?action=reprice_ledger", nodetest.MasterKey, nil); status != 200 || strings.Count(string(b), `"reprice_ledger"`) != 3 {
		t.Errorf("audit: got %d %s, want 3 entries", status, b)
	}
	for _, price := range []string{`{}`, `null`, `1`, `{"inptu":1,"output":1}`, `{"input":1}`, `{"input":1,"output":1,"inptu":1}`, `{"input":-1,"output":1}`} {
		if status, b := c.Nodes[0].Do("GET", "/api/v1/ledger/reprice?price="+url.QueryEscape(price), nodetest.MasterKey, nil); status != 400 || !strings.Contains(string(b), `"price`) {
			t.Errorf("a preview at %s: got %d %s", price, status, b)
		}
	}
	if status, b := c.Nodes[0].Do("POST", "/api/v1/ledger/reprice", nodetest.MasterKey, fields{"price": fields{"units": fields{"query": 1}}}); status/100 != 4 {
		t.Errorf("a price by the unit: got %d %s", status, b)
	}
}
