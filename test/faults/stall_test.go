//go:build e2e

package faults

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestLeader_DiskHangs has every sync of the leader's disk take a minute: another leads, and takes admin writes, long before
// (within three seconds on a machine that is not busy); requests on the other nodes fail 0 times.
func TestLeader_DiskHangs(t *testing.T) {
	c := cluster.Start(t, 3)
	_, secret := c.NewKey(0, map[string]any{"name": "loaded"})
	leader := c.Leader()
	other := (leader + 1) % 3
	tr := startTraffic(c, secret, 1)
	end := injectSyncs(t, c.Nodes[leader], "delay_enter=60s")
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
	if back > 30*time.Second {
		t.Errorf("admin writes were back after %s, hardly before the disk was", back)
	}
	end()
	tr.end()
	for node := range c.Nodes {
		if lost := tr.lost[node].Load(); node != leader && lost != 0 {
			t.Errorf("node %s failed %d requests, want 0", c.Nodes[node].Name, lost)
		}
	}
}

// TestFollower_DiskHangs has every sync of a follower's disk take a minute: no write and no request of the others suffers, the
// follower's process ends by itself, and it comes back with everything.
func TestFollower_DiskHangs(t *testing.T) {
	c := cluster.Start(t, 3)
	_, secret := c.NewKey(0, map[string]any{"name": "loaded"})
	for i := range c.Nodes {
		c.Await("the node serves the key", 10*time.Second, func() bool { return c.Chat(i, secret) == http.StatusOK })
	}
	leader := c.Leader()
	at, other := (leader+1)%3, (leader+2)%3
	tr := startTraffic(c, secret, 1)
	end := injectSyncs(t, c.Nodes[at], "delay_enter=60s")
	defer end()
	begin := time.Now()
	var keys []string
	var worst time.Duration
	c.Await("the follower gives up", 30*time.Second, func() bool {
		sent := time.Now()
		status, key := tryKey(t, c, other)
		if status != http.StatusCreated {
			t.Errorf("a write: status %d, want 201", status)
		}
		keys, worst = append(keys, key), max(worst, time.Since(sent))
		return strings.Contains(c.Nodes[at].Log(), "cannot go on")
	})
	t.Logf("the follower gave up after %s; %d writes meanwhile, the slowest %s", time.Since(begin).Round(time.Millisecond), len(keys), worst.Round(time.Millisecond))
	for _, m := range c.Members(other) {
		if m.Leader && m.Name != c.Nodes[leader].Name {
			t.Errorf("node %s leads, want %s all the time", m.Name, c.Nodes[leader].Name)
		}
	}
	end() // until then the system keeps the process, for a call of it hangs
	c.Await("the follower's process ends", 10*time.Second, c.Nodes[at].Ended)
	if got := c.Nodes[at].Status(); got != 75 {
		t.Errorf("exit status %d, want 75\n%s", got, c.Nodes[at].Log())
	}
	tr.end()
	for node := range c.Nodes {
		if lost := tr.lost[node].Load(); node != at && lost != 0 {
			t.Errorf("node %s failed %d requests, want 0", c.Nodes[node].Name, lost)
		}
	}
	c.Nodes[at].Start()
	c.Nodes[at].AwaitReady()
	for i, k := range keys {
		if got := c.Chat(at, k); got != http.StatusOK {
			t.Errorf("acknowledged key %d of %d on the node that was away: status %d, want 200", i, len(keys), got)
		}
	}
	sameState(t, c)
}
