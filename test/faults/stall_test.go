//go:build e2e

package faults

import (
	"net/http"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestLeader_DiskHangs has every sync of the leader's disk take twenty seconds: another leads, and
// takes admin writes, within three seconds; requests on the other nodes fail 0 times.
func TestLeader_DiskHangs(t *testing.T) {
	c := cluster.Start(t, 3)
	_, secret := c.NewKey(0, map[string]any{"name": "loaded"})
	leader := c.Leader()
	other := (leader + 1) % 3
	tr := startTraffic(c, secret, 1)
	end := injectSyncs(t, c.Nodes[leader], "delay_enter=20s")
	defer end()
	hung := time.Now()
	var back time.Duration
	c.Await("another leads and takes admin writes", 15*time.Second, func() bool {
		for _, m := range c.Members(other) {
			if m.Leader && m.Name == c.Nodes[leader].Name {
				return false
			}
		}
		status := c.Admin(other, http.MethodPost, "/api/v1/keys", map[string]any{"name": "after"}, nil)
		back = time.Since(hung)
		return status == http.StatusCreated
	})
	t.Logf("admin writes were back %s after the disk hung", back.Round(time.Millisecond))
	if back > 3*time.Second {
		t.Errorf("admin writes were back after %s, want at most 3 s", back)
	}
	end()
	tr.end()
	for node := range c.Nodes {
		if lost := tr.lost[node].Load(); node != leader && lost != 0 {
			t.Errorf("node %s failed %d requests, want 0", c.Nodes[node].Name, lost)
		}
	}
}
