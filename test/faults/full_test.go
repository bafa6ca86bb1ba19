//go:build e2e

package faults

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestDisk_Full fills the disks of nodes while they write. A leader whose disk is nearly full raises an alert, leaves out what requests say
// and hands over; where all are, large changes are refused and the rest goes on; a node whose disk takes nothing any more ends with
// status 75 and says why, while the others go on. Once
// there is room everything comes back, and nothing that was acknowledged is missing.
func TestDisk_Full(t *testing.T) {
	disks := make([]*disk, 3)
	c := cluster.Config{Prepare: func(i int, dir string) { disks[i] = newDisk(t, dir) }}.Start(t, 3)
	id, secret := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 1000, "per": "day"}}, "log_content": true})
	channels := map[string]any{"channels": []map[string]any{{"name": "ops", "type": "webhook", "url": "http://127.0.0.1:9/nobody"}}}
	if status := c.Admin(0, http.MethodPut, "/api/v1/settings/alerts", map[string]any{"value": channels}, nil); status/100 != 2 {
		t.Fatalf("set alerts: status %d", status)
	}
	for i := range c.Nodes {
		c.Await("the node serves the key", 10*time.Second, func() bool { return c.Chat(i, secret) == http.StatusOK })
	}
	tr := startTraffic(c, secret, 1)
	w := startWriter(t, c)
	const nearly = 22 << 20 // of 512 MiB: a twentieth is the reserve

	was := c.Leader()
	disks[was].fill(nearly)
	begin := time.Now()
	c.Await("another leads", 15*time.Second, func() bool { return c.Leader() != was })
	t.Logf("another leads %s after the leader's disk was nearly full", time.Since(begin).Round(time.Millisecond))

	c.Await("an alert is raised", 20*time.Second, func() bool { return alerted(c, "node_disk") > 0 })
	c.Await("contents are left out", 10*time.Second, func() bool { return metric(t, c, was, "conclave_contents_left_out_total") > 0 })

	for _, d := range disks {
		d.fill(nearly)
	}
	big := make([]string, 8000)
	for i := range big {
		big[i] = fmt.Sprintf("customer-%016d", i)
	}
	c.Await("a large change is refused", 10*time.Second, func() bool {
		status, text := cluster.CallRaw(t, http.MethodPut, c.Nodes[0].URL+"/api/v1/settings/blocked_user_list", cluster.MasterKey, map[string]any{"value": big})
		return status == http.StatusInsufficientStorage && contains(text, `"disk_full"`)
	})
	before := w.count()
	c.Await("small changes go on", 10*time.Second, func() bool { return w.count() > before+20 })
	for i, n := range c.Nodes {
		if lost := tr.lost[i].Load(); lost != 0 {
			t.Errorf("node %s failed %d requests while disks were nearly full, want 0", n.Name, lost)
		}
	}

	at := (c.Leader() + 1) % 3
	n := c.Nodes[at]
	for i, d := range disks {
		if i != at {
			d.free()
		}
	}
	disks[at].fill(0)
	c.Await("the process ends whose disk is full", 30*time.Second, func() bool { disks[at].fill(0); return n.Ended() })
	if got := n.Status(); got != 75 || !strings.Contains(n.Log(), "no space left on device") {
		t.Errorf("exit status %d, want 75 and the reason:\n%s", got, n.Log())
	}
	n.Start()
	c.Await("a start with a full disk is refused", 30*time.Second, n.Ended)
	if got := n.Status(); got == 0 || !strings.Contains(n.Log(), "no space left on device") {
		t.Errorf("a start with a full disk: exit status %d, want the reason:\n%s", got, n.Log())
	}
	before = w.count()
	c.Await("the others take writes", 10*time.Second, func() bool { return w.count() > before+20 })
	disks[at].free()
	n.Start()
	n.AwaitReady()
	served := tr.answered[at].Load()
	c.Await("the node serves again", 10*time.Second, func() bool { return tr.answered[at].Load() > served+20 })
	tr.end()
	for i, n := range c.Nodes {
		if lost := tr.lost[i].Load(); i != at && lost != 0 {
			t.Errorf("node %s failed %d requests, want 0", n.Name, lost)
		}
	}
	w.end(t, c)
	sameState(t, c)
	checkCrashSpend(t, c, id, tr, 1)
	awaitLedger(t, c)
}

// alerted is how many alerts of a kind were raised.
func alerted(c *cluster.Cluster, kind string) int {
	var page struct {
		Items []struct {
			Kind string `json:"kind"`
		} `json:"items"`
	}
	c.Admin(0, http.MethodGet, "/api/v1/alerts?kind="+kind, nil, &page)
	return len(page.Items)
}
