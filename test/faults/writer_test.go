//go:build e2e

package faults

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// writer makes keys through one node after the other until it is stopped, and remembers those that
// were acknowledged.
type writer struct {
	stop   chan struct{}
	wg     sync.WaitGroup
	paused sync.RWMutex // held for writing: nothing is written
	failed atomic.Int64
	mu     sync.Mutex // guards what follows
	ids    []string
	took   []time.Duration // of acknowledged writes
}

func startWriter(t *testing.T, c *cluster.Cluster) *writer {
	nodes := make([]int, len(c.Nodes))
	for i := range nodes {
		nodes[i] = i
	}
	return writeThrough(t, c, nodes...)
}

// writeThrough makes keys through some nodes.
func writeThrough(t *testing.T, c *cluster.Cluster, nodes ...int) *writer {
	w := &writer{stop: make(chan struct{})}
	w.wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-w.stop:
				return
			case <-tick.C:
			}
			w.once(t, c, nodes[i%len(nodes)])
		}
	})
	return w
}

func (w *writer) once(t *testing.T, c *cluster.Cluster, node int) {
	w.paused.RLock()
	defer w.paused.RUnlock()
	var out struct {
		ID string `json:"id"`
	}
	begin := time.Now()
	if cluster.Call(t, http.MethodPost, c.Nodes[node].URL+"/api/v1/keys", cluster.MasterKey, map[string]any{}, &out) != http.StatusCreated {
		w.failed.Add(1)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ids = append(w.ids, out.ID)
	w.took = append(w.took, time.Since(begin))
}

func (w *writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.ids)
}

// end stops writing, and expects every key that was acknowledged on every node.
func (w *writer) end(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	close(w.stop)
	w.wg.Wait()
	for i, n := range c.Nodes {
		c.Await("node "+n.Name+" has all keys", 30*time.Second, func() bool {
			have := keyIDs(c, i)
			for _, id := range w.ids {
				if !have[id] {
					return false
				}
			}
			return have != nil
		})
	}
	slices.Sort(w.took)
	for i := range w.took {
		w.took[i] = w.took[i].Round(time.Millisecond)
	}
	if n := len(w.took); n > 0 {
		t.Logf("%d writes acknowledged, median %s, p99 %s, the slowest %s, %d refused; all are on every node", n, w.took[n/2], w.took[n*99/100], w.took[n-1], w.failed.Load())
	}
}

// keyIDs are the ids of all keys that a node has, nil if it does not tell.
func keyIDs(c *cluster.Cluster, node int) map[string]bool {
	have := map[string]bool{}
	for cursor := ""; ; {
		var page struct {
			Items []struct {
				ID string `json:"id"`
			} `json:"items"`
			Next string `json:"next_cursor"`
		}
		if c.Admin(node, http.MethodGet, fmt.Sprintf("/api/v1/keys?limit=500&cursor=%s", cursor), nil, &page) != http.StatusOK {
			return nil
		}
		for _, k := range page.Items {
			have[k.ID] = true
		}
		if cursor = page.Next; cursor == "" {
			return have
		}
	}
}

// sameState waits until no node is quarantined and all have applied the same.
func sameState(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	c.Await("all members vote and none is quarantined", 30*time.Second, func() bool {
		var out struct {
			Members []struct {
				Voter       bool   `json:"voter"`
				Reachable   bool   `json:"reachable"`
				Quarantined string `json:"quarantined"`
			} `json:"members"`
		}
		if c.Admin(0, http.MethodGet, "/api/v1/cluster", nil, &out) != http.StatusOK || len(out.Members) != len(c.Nodes) {
			return false
		}
		for _, m := range out.Members {
			if m.Quarantined != "" {
				t.Fatalf("a node is quarantined: %s", m.Quarantined)
			}
			if !m.Voter || !m.Reachable {
				return false
			}
		}
		return true
	})
}
