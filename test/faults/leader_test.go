//go:build e2e

package faults

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// traffic is chat requests that go to some nodes until it is stopped.
type traffic struct {
	stop           chan struct{}
	wg             sync.WaitGroup
	answered, lost []atomic.Int64 // by node
}

func startTraffic(c *cluster.Cluster, secret string, workers int) *traffic {
	tr := &traffic{stop: make(chan struct{}), answered: make([]atomic.Int64, len(c.Nodes)), lost: make([]atomic.Int64, len(c.Nodes))}
	for node := range c.Nodes {
		for range workers {
			tr.wg.Go(func() {
				for {
					select {
					case <-tr.stop:
						return
					default:
					}
					if c.Chat(node, secret) == http.StatusOK {
						tr.answered[node].Add(1)
					} else {
						tr.lost[node].Add(1)
					}
				}
			})
		}
	}
	return tr
}

func (tr *traffic) end() {
	close(tr.stop)
	tr.wg.Wait()
}

// usage is the spend that a node shows for one key.
type usage struct {
	Cost     json.Number `json:"cost"`
	Requests int64       `json:"requests"`
	Failures int64       `json:"failures"`
}

func keyCost(c *cluster.Cluster, node int, id string) string {
	return keyUsage(c, node, id).Cost.String()
}

func keyUsage(c *cluster.Cluster, node int, id string) usage {
	var u struct {
		Items []usage `json:"items"`
	}
	c.Admin(node, http.MethodGet, "/api/v1/usage?kind=key&id="+id, nil, &u)
	if len(u.Items) != 1 {
		return usage{}
	}
	return u.Items[0]
}

// TestLeader_KilledUnderLoad kills the leader with SIGKILL under load: requests on the
// other nodes fail 0 times, admin writes are back (within two seconds on a machine that is not busy), no acknowledged key,
// budget or spend is lost, and the killed node comes back by itself.
func TestLeader_KilledUnderLoad(t *testing.T) {
	c := cluster.Start(t, 3)
	id, secret := c.NewKey(0, map[string]any{
		"name": "loaded", "budgets": []map[string]any{{"usd": 1000, "per": "day"}},
	})
	leader := c.Leader()
	other := (leader + 1) % 3
	tr := startTraffic(c, secret, 2)
	c.Await("every node has answered 50 requests", 20*time.Second, func() bool {
		return tr.answered[0].Load() > 50 && tr.answered[1].Load() > 50 && tr.answered[2].Load() > 50
	})
	acked := writeKeys(c, other, 20)
	c.Nodes[leader].Kill()
	killed := time.Now()
	var back time.Duration
	c.Await("an admin write is accepted", 10*time.Second, func() bool {
		status := c.Admin(other, http.MethodPost, "/api/v1/keys", map[string]any{"name": "after"}, nil)
		back = time.Since(killed)
		return status == http.StatusCreated
	})
	t.Logf("admin writes were back after %s", back.Round(time.Millisecond))
	before := tr.answered[other].Load()
	c.Await("the others go on", 10*time.Second, func() bool { return tr.answered[other].Load() > before+50 })
	tr.end()
	for node := range c.Nodes {
		if lost := tr.lost[node].Load(); node != leader && lost != 0 {
			t.Errorf("node %s failed %d requests, want 0", c.Nodes[node].Name, lost)
		}
	}
	c.Nodes[leader].Start()
	c.Nodes[leader].AwaitReady()
	for i, k := range acked {
		for node := range c.Nodes {
			if got := c.Chat(node, k); got != http.StatusOK {
				t.Errorf("acknowledged key %d on node %d: status %d, want 200", i, node, got)
			}
		}
	}
	checkSpend(t, c, id, tr)
}

func writeKeys(c *cluster.Cluster, node, n int) []string {
	keys := make([]string, n)
	for i := range keys {
		_, keys[i] = c.NewKey(node, map[string]any{})
	}
	return keys
}

// checkSpend expects every node to show at least one ledger entry for each request that a
// client saw answered, at most two more per worker that was cut, and the same on all nodes.
func checkSpend(t *testing.T, c *cluster.Cluster, id string, tr *traffic) {
	t.Helper()
	var answered, lost int64
	for node := range c.Nodes {
		answered += tr.answered[node].Load()
		lost += tr.lost[node].Load()
	}
	c.Await("all nodes show the same spend, and all of it", 15*time.Second, func() bool {
		u := keyUsage(c, 0, id)
		return u.Requests >= answered && u == keyUsage(c, 1, id) && u == keyUsage(c, 2, id)
	})
	u := keyUsage(c, 0, id)
	t.Logf("%d answered, %d lost, %d in the ledger, cost %s", answered, lost, u.Requests, u.Cost)
	if u.Requests > answered+lost {
		t.Errorf("the ledger has %d requests, want at most the %d sent", u.Requests, answered+lost)
	}
}

// TestFollower_Away kills a follower for twelve seconds under load: it is ready soon after its start, however long it was away.
func TestFollower_Away(t *testing.T) {
	c := cluster.Start(t, 3)
	_, secret := c.NewKey(0, map[string]any{"name": "loaded"})
	at := (c.Leader() + 1) % 3
	tr := startTraffic(c, secret, 1)
	c.Nodes[at].Kill()
	pass(12 * time.Second)
	began := time.Now()
	c.Nodes[at].Start()
	c.Nodes[at].AwaitReady()
	ready := time.Since(began)
	tr.end()
	t.Logf("the node was ready %s after its start", ready.Round(time.Millisecond))
	if ready > 8*time.Second { // it takes half a second on a machine that is not busy
		t.Errorf("the node was ready %s after its start, nearly as long as it was away", ready)
	}
}

// TestTwoDead expects the last node to serve the keys that it knows, ten thousand requests without a failure, and to refuse admin
// writes with 503 no_leader and when to ask again.
func TestTwoDead(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, 3)
	_, secret := c.NewKey(0, map[string]any{})
	if got := c.Chat(2, secret); got != http.StatusOK {
		t.Fatalf("before: status %d, want 200", got)
	}
	c.Nodes[0].Kill()
	c.Nodes[1].Kill()
	const requests, clients = 10_000, 16
	var failed atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range clients {
		wg.Go(func() {
			for range requests / clients {
				if got := c.Chat(2, secret); got != http.StatusOK && failed.Add(1) == 1 {
					t.Errorf("a request on the survivor: status %d, want 200", got)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("the survivor failed %d of %d requests, in %s", failed.Load(), requests, time.Since(began).Round(time.Millisecond))
	c.AwaitThat("admin writes are refused with 503 no_leader and when to ask again", 20*time.Second, func() (bool, string) {
		return refusedWrite(t, c.Nodes[2].URL)
	})
	if got := c.Chat(2, secret); got != http.StatusOK {
		t.Errorf("after the refusal: status %d, want 200", got)
	}
	c.Nodes[0].Start()
	c.Nodes[0].AwaitReady()
	c.Await("admin writes are accepted again", 20*time.Second, func() bool {
		return c.Admin(2, http.MethodPost, "/api/v1/keys", map[string]any{}, nil) == http.StatusCreated
	})
}

// refusedWrite asks a node for a key, and says whether it refuses for want of a leader.
func refusedWrite(t *testing.T, url string) (ok bool, instead string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/api/v1/keys", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+cluster.MasterKey)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	after, _ := strconv.Atoi(res.Header.Get("Retry-After"))
	ok = err == nil && res.StatusCode == http.StatusServiceUnavailable && contains(text, `"no_leader"`) && after > 0
	return ok, fmt.Sprintf("%d, Retry-After %q: %s", res.StatusCode, res.Header.Get("Retry-After"), text)
}

// TestStopAll stops all nodes, restarts them and expects everything to be there.
func TestStopAll(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, 3)
	id, secret := c.NewKey(1, map[string]any{"name": "kept", "budgets": []map[string]any{{"usd": 5, "per": "day"}}})
	for range 30 {
		c.Chat(1, secret)
	}
	c.Await("the spend is everywhere", 5*time.Second, func() bool { return keyUsage(c, 2, id).Requests == 30 })
	want := keyUsage(c, 2, id)
	for _, how := range []string{"SIGTERM", "SIGKILL"} {
		for _, n := range c.Nodes {
			if how == "SIGTERM" {
				n.Stop()
			} else {
				n.Kill()
			}
		}
		for _, n := range c.Nodes {
			n.Start()
		}
		for i, n := range c.Nodes {
			n.AwaitReady()
			if got := keyUsage(c, i, id); got != want {
				t.Errorf("after %s node %s shows %+v, want %+v", how, n.Name, got, want)
			}
		}
	}
	for i := range c.Nodes {
		if got := c.Chat(i, secret); got != http.StatusOK {
			t.Errorf("node %d after the restarts: status %d, want 200", i, got)
		}
	}
}
