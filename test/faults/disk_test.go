//go:build e2e

package faults

import (
	"context"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// injectSyncs has strace do something to every sync of a node's disk until the returned function is
// called.
func injectSyncs(t *testing.T, n *cluster.Node, what string) (end func()) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		missing(t, "strace, which injects faults of the disk")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, strace, "-f", "-qq", "-o", "/dev/null", "-p", strconv.Itoa(n.PID()),
		"-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:"+what)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		cancel()
		_ = cmd.Wait() // it was killed
	}
}

// TestDisk_SyncFails has every sync of a node's disk fail: what it was to keep is not known to be
// kept, so the process ends with status 75 rather than go on. The others serve and take writes, and
// the node comes back with all that was acknowledged.
func TestDisk_SyncFails(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		leader bool
	}{{"of the leader", true}, {"of a follower", false}} {
		t.Run(tt.name, func(t *testing.T) {
			c := cluster.Start(t, 3)
			at := c.Leader()
			if !tt.leader {
				at = (at + 1) % 3
			}
			other := (at + 1) % 3
			keys := writeKeys(c, other, 20)
			end := injectSyncs(t, c.Nodes[at], "error=EIO")
			defer end()
			c.Await("the process ends", 15*time.Second, func() bool {
				if status, key := tryKey(t, c, other); status == http.StatusCreated {
					keys = append(keys, key)
				}
				return c.Nodes[at].Ended()
			})
			if got := c.Nodes[at].Status(); got != 75 {
				t.Errorf("exit status %d, want 75\n%s", got, c.Nodes[at].Log())
			}
			c.Await("the others take writes", 10*time.Second, func() bool {
				status, key := tryKey(t, c, other)
				if status == http.StatusCreated {
					keys = append(keys, key)
				}
				return status == http.StatusCreated
			})
			end()
			c.Nodes[at].Start()
			c.Nodes[at].AwaitReady()
			for i, k := range keys {
				for node := range c.Nodes {
					if got := c.Chat(node, k); got != http.StatusOK {
						t.Errorf("acknowledged key %d of %d on node %s: status %d, want 200", i, len(keys), c.Nodes[node].Name, got)
					}
				}
			}
		})
	}
}

func tryKey(t *testing.T, c *cluster.Cluster, node int) (int, string) {
	t.Helper()
	var key struct {
		Secret string `json:"secret"`
	}
	status := c.Admin(node, http.MethodPost, "/api/v1/keys", map[string]any{}, &key)
	return status, key.Secret
}

// TestDisk_SlowSyncs has every sync of the leader's disk take 200 ms: writes go on, more slowly, no
// request fails, and there is no storm of elections.
func TestDisk_SlowSyncs(t *testing.T) {
	c := cluster.Start(t, 3)
	_, secret := c.NewKey(0, map[string]any{})
	leader := c.Leader()
	other := (leader + 1) % 3
	tr := startTraffic(c, secret, 1)
	end := injectSyncs(t, c.Nodes[leader], "delay_enter=200000")
	defer end()
	var took []time.Duration
	leaders, last := 0, leader
	for range 12 {
		at := time.Now()
		if status, _ := tryKey(t, c, other); status != http.StatusCreated {
			t.Errorf("a write: status %d, want 201", status)
		}
		took = append(took, time.Since(at))
		if now := c.Leader(); now != last {
			leaders, last = leaders+1, now
		}
	}
	tr.end()
	slices.Sort(took)
	t.Logf("%d writes: median %s, worst %s; %d changes of the leader", len(took),
		took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond), leaders)
	if leaders > 2 {
		t.Errorf("the leader changed %d times", leaders)
	}
	for node := range c.Nodes {
		if lost := tr.lost[node].Load(); lost != 0 {
			t.Errorf("node %s failed %d requests, want 0", c.Nodes[node].Name, lost)
		}
	}
}

// TestNetwork_Narrow lets no more than a megabit a second reach a follower: it serves and stays a
// voter, the leader stays, and its spend is seen by all.
func TestNetwork_Narrow(t *testing.T) {
	if _, err := exec.LookPath("tc"); err != nil {
		missing(t, "tc, which narrows the network")
	}
	c := cluster.StartApart(t, 3)
	id, secret := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 1000, "per": "day"}}})
	for i := range c.Nodes {
		c.Await("the node serves the key", 10*time.Second, func() bool { return c.Chat(i, secret) == http.StatusOK })
	}
	leader := c.Leader()
	node := (leader + 1) % 3
	c.Narrow(node, "1mbit")
	asked := int64(3)
	for begin := time.Now(); time.Since(begin) < 5*time.Second; asked++ {
		if got := c.Chat(node, secret); got != http.StatusOK {
			t.Errorf("a request: status %d, want 200", got)
		}
		if status, _ := tryKey(t, c, node); status != http.StatusCreated {
			t.Errorf("a write: status %d, want 201", status)
		}
	}
	begin := time.Now()
	c.Await("all nodes show the spend", 5*time.Second, func() bool {
		return keyUsage(c, leader, id).Requests == asked && keyUsage(c, node, id).Requests == asked
	})
	t.Logf("%d requests and writes; the spend was everywhere %s later", asked, time.Since(begin).Round(time.Millisecond))
	if got := c.Leader(); got != leader {
		t.Errorf("node %s leads, want %s all the time", c.Nodes[got].Name, c.Nodes[leader].Name)
	}
	c.Narrow(node, "")
}
