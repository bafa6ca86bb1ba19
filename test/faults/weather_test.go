//go:build e2e

package faults

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// weather sets what all relays do.
func weather(c *cluster.Cluster, w cluster.Weather) {
	for _, n := range c.Nodes {
		n.Relay.Set(w)
	}
}

// metric reads a number that a node tells, -1 if it tells none.
func metric(t *testing.T, c *cluster.Cluster, node int, name string) float64 {
	_, text := cluster.CallRaw(t, http.MethodGet, c.Nodes[node].URL+"/metrics", cluster.MasterKey, nil)
	m := regexp.MustCompile(`(?m)^` + name + `(?:\{[^}]*\})? (\S+)$`).FindSubmatch(text)
	if m == nil {
		return -1
	}
	v, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		return -1
	}
	return v
}

// leaderFor is the name of the leader as long as nothing else is seen for some time; "" if it changes.
func leaderFor(c *cluster.Cluster, d time.Duration) string {
	name := c.Nodes[c.Leader()].Name
	end := time.After(d)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-end:
			return name
		case <-tick.C:
		}
		for i := range c.Nodes {
			for _, m := range c.Members(i) {
				if m.Leader && m.Name != name {
					return ""
				}
			}
		}
	}
}

// TestNetwork_Weather has all that nodes say to each other pass relays. With 74 to 124 ms from node to node and back,
// the leader stays. With datagrams that get lost, come twice and in another order, and connections that
// stall as they do when packets are lost, and end, what is acknowledged is on every node, and the books
// are the bill.
func TestNetwork_Weather(t *testing.T) {
	c := cluster.Config{Relayed: true}.Start(t, 3)
	id, secret := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 1000, "per": "day"}}})
	tr := startTraffic(c, secret, 1)
	w := startWriter(t, c)
	for _, tt := range []struct {
		name   string
		w      cluster.Weather
		stable bool
	}{
		{"delay", cluster.Weather{Delay: 37 * time.Millisecond, Jitter: 25 * time.Millisecond}, true},
		{"datagrams lost, twice and reordered", cluster.Weather{Loss: 0.3, Twice: 0.2, Reorder: 0.5}, false},
		{"delay, loss and cut connections", cluster.Weather{Delay: 10 * time.Millisecond, Jitter: 40 * time.Millisecond, Loss: 0.05, Twice: 0.1, Reorder: 0.3, Cut: 0.002}, false},
	} {
		weather(c, tt.w)
		before := w.count()
		leader := leaderFor(c, length(4*time.Second))
		t.Logf("%s: %d writes acknowledged, leader %q", tt.name, w.count()-before, leader)
		if tt.stable && leader == "" {
			t.Errorf("%s: the leader changed", tt.name)
		}
		if w.count() == before && tt.stable {
			t.Errorf("%s: nothing was acknowledged", tt.name)
		}
		weather(c, cluster.Weather{})
	}
	for _, n := range c.Nodes {
		n.AwaitReady()
	}
	tr.end()
	w.end(t, c)
	sameState(t, c)
	var lost int64
	for i := range tr.lost {
		lost += tr.lost[i].Load()
	}
	checkSpend(t, c, id, tr)
	awaitLedger(t, c)
	if lost > 0 {
		t.Errorf("%d requests failed: nodes serve by themselves, whatever becomes of what they say to each other", lost)
	}
}

// TestGossip_AloneIsCut loses every datagram and nothing else: the leader stays, writes go on, requests are
// served, and what routing knows of the others fades; after healing they are known again within 30 s.
func TestGossip_AloneIsCut(t *testing.T) {
	c := cluster.Config{Relayed: true}.Start(t, 3)
	_, secret := c.NewKey(0, map[string]any{})
	for i := range c.Nodes {
		c.Await(fmt.Sprintf("node %d knows all", i), 30*time.Second, func() bool { return metric(t, c, i, "conclave_gossip_alive_nodes") == 3 })
	}
	tr := startTraffic(c, secret, 1)
	w := startWriter(t, c)
	heard := func() float64 { return metric(t, c, 0, "conclave_gossip_frames_received_total") }
	begin, well := time.Now(), heard()
	c.Await("frames are heard", 20*time.Second, func() bool { return heard() > well+20 })
	perSecond := (heard() - well) / time.Since(begin).Seconds()
	said := func() (n int) {
		for _, node := range c.Nodes {
			n += strings.Count(node.Log(), " msg=memberlist ")
		}
		return n
	}
	weather(c, cluster.Weather{Mute: true})
	before, failed, silent := w.count(), w.failed.Load(), said()
	begin, well = time.Now(), heard()
	if leaderFor(c, length(5*time.Second)) == "" {
		t.Error("the leader changed")
	}
	if n := w.count() - before; n < 20 || w.failed.Load() > failed {
		t.Errorf("%d writes acknowledged and %d refused without gossip, want at least 20 and none", n, w.failed.Load()-failed)
	}
	if n := said() - silent; n > 24 { // of some kinds, and two others for each node
		t.Errorf("memberlist's lines in the logs are %d, want one when a state begins", n)
	}
	without := (heard() - well) / time.Since(begin).Seconds()
	t.Logf("frames of others a second: %.1f, and %.1f without datagrams", perSecond, without)
	if without > perSecond/4 {
		t.Error("the relays let gossip pass")
	}
	weather(c, cluster.Weather{})
	begin, well = time.Now(), heard()
	for i := range c.Nodes {
		c.Await(fmt.Sprintf("node %d knows all again", i), 30*time.Second, func() bool { return metric(t, c, i, "conclave_gossip_alive_nodes") == 3 })
	}
	c.Await("frames come again", 30*time.Second, func() bool { return heard() > well+20 })
	t.Logf("all are known again %s after healing", time.Since(begin).Round(time.Millisecond))
	tr.end()
	w.end(t, c)
	for i := range tr.lost {
		if n := tr.lost[i].Load(); n > 0 {
			t.Errorf("node %s: %d requests failed", c.Nodes[i].Name, n)
		}
	}
}
