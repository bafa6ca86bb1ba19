//go:build e2e

package faults

import (
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/torture/rig"
	"github.com/conclave-llm/conclave/test/cluster"
)

// reaches says whether a node has the answer of another one to a question that it asks now.
func reaches(c *cluster.Cluster, node int, name string) bool {
	var out struct {
		Members []struct {
			Name      string `json:"name"`
			Reachable bool   `json:"reachable"`
		} `json:"members"`
	}
	if c.Admin(node, http.MethodGet, "/api/v1/cluster", nil, &out) != http.StatusOK {
		return false
	}
	for _, m := range out.Members {
		if m.Name == name {
			return m.Reachable
		}
	}
	return false
}

// TestNetwork_HalfOpen loses all that a node says, kills it, so that nobody is told of the end of its connections, and starts it
// again: a follower, and with CONCLAVE_FULL then the leader. Requests and writes through the others go on, the first question that each asks the
// node when it is back is answered, for its pool dials anew at the first failure, and the first write
// through the node is done.
func TestNetwork_HalfOpen(t *testing.T) {
	if err := rig.MayPart(); err != nil {
		missing(t, err.Error())
	}
	c := cluster.StartApart(t, 3)
	_, secret := c.NewKey(0, map[string]any{})
	for i := range c.Nodes {
		c.Await("the node serves the key", 10*time.Second, func() bool { return c.Chat(i, secret) == http.StatusOK })
	}
	looks := watchForward(t, c)
	for _, leads := range []bool{false, true} {
		if leads && os.Getenv("CONCLAVE_FULL") == "" {
			continue
		}
		node := c.Leader()
		if !leads {
			node = (node + 1) % 3
		}
		halfOpen(t, c, node, secret, leads)
	}
	looks.end()
	sameState(t, c)
	sameLogs(t, c)
}

// halfOpen has the others keep connections of which one node knows nothing.
func halfOpen(t *testing.T, c *cluster.Cluster, node int, secret string, leads bool) {
	t.Helper()
	others := []int{(node + 1) % 3, (node + 2) % 3}
	name := c.Nodes[node].Name
	for _, at := range others {
		c.Await("the node is reached", 10*time.Second, func() bool { return reaches(c, at, name) })
	}
	tr := startTraffic(c, secret, 1)
	w := writeThrough(t, c, others...)
	c.Mute(node)
	c.Nodes[node].Kill()
	pass(3 * time.Second) // calls run out of time, and what is sent waits for TCP
	before := w.count()
	c.Await("writes go on", 15*time.Second, func() bool { return w.count() > before+20 })
	c.Heal()
	c.Nodes[node].Start()
	began := time.Now()
	c.Nodes[node].AwaitReady()
	ready := time.Since(began)
	for _, at := range others {
		if !reaches(c, at, name) {
			t.Errorf("node %s does not reach node %s at the first try", c.Nodes[at].Name, name)
		}
	}
	t.Logf("node %s, leader %v: ready %s after its start", name, leads, ready.Round(time.Millisecond))
	if status, _ := tryKey(t, c, node); status != http.StatusCreated {
		t.Errorf("the first write through node %s: status %d, want 201", name, status)
	}
	tr.end()
	w.end(t, c)
	if n := w.failed.Load(); n > int64(w.count()/50) { // they wait for a leader, on a busy machine not long enough
		t.Errorf("%d of %d writes through the others failed", n, w.count())
	}
	for _, at := range others {
		if lost := tr.lost[at].Load(); lost > 0 {
			t.Errorf("node %s failed %d requests, want 0", c.Nodes[at].Name, lost)
		}
	}
}
