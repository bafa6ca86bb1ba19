package node_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/resource"
)

// TestLedger_everyTotalIsTheBill serves requests that count for a holder of each kind, through all
// nodes, of which one is cut off meanwhile. After healing every total that any node gives is the
// bill to the nanodollar: in the records, by kind, by day, as a fold of the nodes' rows, in
// Prometheus.
func TestLedger_everyTotalIsTheBill(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	holders := ledgerHolders(t, c)
	ask := nodetest.ChatBody(fields{"user": "eve"})
	send := func(n *nodetest.Node) int {
		status, _ := n.Do(http.MethodPost, "/v1/chat/completions", holders["keys"].secret, ask)
		return status
	}
	before := storm(c, 20, send)
	c.Nodes[2].Cut()
	cut := storm(c, 10, send)
	c.Heal()
	c.AwaitReady()
	if before[200] != 60 || cut[200] != 30 {
		t.Fatalf("statuses %v, %v", before, cut)
	}
	const requests = 90
	today := time.Now().UTC().Format(time.DateOnly)
	for _, n := range c.Nodes {
		awaitSpend(t, c, n, holders["keys"].id)
		for noun, h := range holders {
			var record struct {
				Spend resource.Money `json:"spend"`
			}
			status, b := n.Do(http.MethodGet, "/api/v1/"+noun+"/"+h.id, nodetest.MasterKey, nil)
			if status != 200 || json.Unmarshal(b, &record) != nil || record.Spend != c.Bill() {
				t.Errorf("%s: %s: spend %s of %s; want %s: %d %.300s", n.Name, noun, record.Spend, h.id, c.Bill(), status, b)
			}
		}
		for _, q := range [][4]string{
			{"total", ""},
			{"key", holders["keys"].id},
			{"team", holders["teams"].id},
			{"model", "demo"},
			{"total", "", today, today},
			{"key", holders["keys"].id, today, today},
		} {
			u, err := n.Admin().Usage(t.Context(), q[0], q[1], q[2], q[3])
			if err != nil || len(u) != 1 || u[0].Cost != c.Bill() || u[0].Requests != requests {
				t.Errorf("%s: usage %v: %+v, %v; want %s in %d requests", n.Name, q, u, err, c.Bill(), requests)
			}
		}
		for _, by := range []string{
			"key", "team", "organization", "project", "user", "customer", "tag", "model", "deployment", "provider", "endpoint",
		} {
			wantFold(t, c, n, url.Values{"group_by": {by}}, requests)
		}
		wantFold(t, c, n, url.Values{"granularity": {"day"}, "from": {today}}, requests)
	}
	var counted float64
	for _, n := range c.Nodes {
		counted += spendCounter(t, n)
	}
	if resource.Money(counted) != c.Bill() {
		t.Errorf("Prometheus counts %s, want %s", resource.Money(counted), c.Bill())
	}
}

// ledgerHolder is a record that requests count for.
type ledgerHolder struct{ id, secret string }

// ledgerHolders makes one of each kind, by the noun of its route.
func ledgerHolders(t *testing.T, c *nodetest.Cluster) map[string]ledgerHolder {
	t.Helper()
	made := map[string]ledgerHolder{}
	for _, r := range []struct {
		noun string
		doc  fields
	}{
		{"organizations", fields{"id": "org", "name": "org"}},
		{"teams", fields{"id": "team", "organization_id": "org"}},
		{"projects", fields{"id": "project", "name": "project", "team_id": "team"}},
		{"users", fields{"id": "user"}},
		{"teams/team/members", fields{"user_id": "user"}},
		{"customers", fields{"id": "eve"}},
		{"tags", fields{"id": "red"}},
		{"keys", fields{"name": "key", "team_id": "team", "project_id": "project", "user_id": "user", "tags": []string{"red"}}},
	} {
		var out struct {
			ID     string `json:"id"`
			Secret string `json:"secret"`
		}
		status, b := c.Nodes[0].Do(http.MethodPost, "/api/v1/"+r.noun, nodetest.MasterKey, r.doc)
		if status != 201 || json.Unmarshal(b, &out) != nil {
			t.Fatalf("%s: got %d %s", r.noun, status, b)
		}
		if r.noun == "teams/team/members" {
			out.ID = "user"
		}
		made[r.noun] = ledgerHolder{out.ID, out.Secret}
	}
	for _, n := range c.Nodes { // the last that was made
		c.Await(n.Name+" has the key", func() bool {
			status, _ := n.Do(http.MethodGet, "/api/v1/keys/"+made["keys"].id, nodetest.MasterKey, nil)
			return status == 200
		})
	}
	return made
}

// wantFold expects one item with the bill.
func wantFold(t *testing.T, c *nodetest.Cluster, n *nodetest.Node, q url.Values, requests int64) {
	t.Helper()
	var out struct {
		Items []client.Usage `json:"items"`
	}
	c.Await(n.Name+" folds "+q.Encode()+" to the bill", func() bool { // a node's row may be written after its tick
		out.Items = nil
		status, b := n.Do(http.MethodGet, "/api/v1/usage?"+q.Encode(), nodetest.MasterKey, nil)
		return status == 200 && json.Unmarshal(b, &out) == nil && len(out.Items) == 1 && out.Items[0].Cost == c.Bill() && out.Items[0].Requests == requests
	})
}
