//go:build e2e

package faults

import (
	"net/http"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestLeader_TransfersUnderLoad has the leadership handed over every 500 ms through one node after the other, under
// load: no request and no write through any node fails, and what was written is on every node.
func TestLeader_TransfersUnderLoad(t *testing.T) {
	c := cluster.Start(t, 3)
	id, secret := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 1000, "per": "day"}}})
	_, warm := c.NewKey(0, map[string]any{})
	for i := range c.Nodes {
		c.Await("the node serves", 10*time.Second, func() bool { return c.Chat(i, warm) == http.StatusOK })
	}
	tr := startTraffic(c, secret, 1)
	w := startWriter(t, c)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	asked, changed, last := 0, 0, c.Leader()
	for end := time.Now().Add(length(3 * time.Second)); time.Now().Before(end); <-tick.C {
		status, text := cluster.CallRaw(t, http.MethodPost, c.Nodes[asked%3].URL+"/api/v1/cluster/transfer", cluster.MasterKey, map[string]any{})
		if status/100 != 2 && status != http.StatusServiceUnavailable { // nobody took it in time
			t.Errorf("transfer through node %s: status %d: %s", c.Nodes[asked%3].Name, status, text)
		}
		asked++
		if now := c.Leader(); now != last {
			changed, last = changed+1, now
		}
	}
	tr.end()
	w.end(t, c)
	t.Logf("%d transfers asked for, %d seen", asked, changed)
	if changed < asked/2 {
		t.Errorf("the leader changed %d times in %d transfers", changed, asked)
	}
	if n := w.failed.Load(); n > 0 {
		t.Errorf("%d writes failed, want 0", n)
	}
	for i, n := range c.Nodes {
		if lost := tr.lost[i].Load(); lost > 0 {
			t.Errorf("node %s failed %d requests, want 0", n.Name, lost)
		}
	}
	sameState(t, c)
	checkSpend(t, c, id, tr)
}
