//go:build e2e

package faults

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestRepeat_EachOnce has followers forward changes and ticks to a leader whose connections end in the middle of questions and answers, and
// whose datagrams come twice and in another order: nobody knows then whether a command was done, and it is sent again, with
// the same id. Each was done once: no key that was made is refused as if it were there already, the audit log has one line for each
// that was acknowledged, and the books are the bill.
func TestRepeat_EachOnce(t *testing.T) {
	t.Parallel()
	c := cluster.Config{Relayed: true}.Start(t, 3)
	id, secret := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 1000, "per": "day"}}})
	tr := startTraffic(c, secret, 1)
	r := &repeats{t: t, c: c, stop: make(chan struct{})}
	before := forwards(t, c)
	weather(c, cluster.Weather{Delay: time.Millisecond, Jitter: 5 * time.Millisecond, Twice: 0.5, Reorder: 0.5, Cut: 0.03})
	for node := range c.Nodes {
		for range 2 {
			r.wg.Go(func() { r.write(node) })
		}
	}
	pass(length(4 * time.Second))
	cuts := func() int64 { return c.Nodes[0].Relay.Cuts() + c.Nodes[1].Relay.Cuts() + c.Nodes[2].Relay.Cuts() }
	c.Await("enough was tried", time.Minute, func() bool { return r.acknowledged() > 0 && cuts() >= 20 })
	close(r.stop)
	r.wg.Wait()
	weather(c, cluster.Weather{})
	for _, n := range c.Nodes {
		n.AwaitReady()
	}
	tr.end()
	sameState(t, c)
	sent := forwards(t, c) - before
	t.Logf("%d keys acknowledged, %d refused, %v commands forwarded, %d connections ended", len(r.ids), r.refused, sent, cuts())
	if sent < float64(len(r.ids))/3 {
		t.Error("nothing was tried")
	}
	r.once()
	checkSpend(t, c, id, tr)
	awaitLedger(t, c)
}

func forwards(t *testing.T, c *cluster.Cluster) (n float64) {
	for i := range c.Nodes {
		n += metric(t, c, i, "conclave_raft_forwards_total")
	}
	return n
}

// repeats makes keys through every node until it is stopped.
type repeats struct {
	t    *testing.T
	c    *cluster.Cluster
	stop chan struct{}
	wg   sync.WaitGroup

	mu      sync.Mutex // guards what follows
	ids     []string
	refused int
}

func (r *repeats) acknowledged() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ids)
}

func (r *repeats) write(node int) {
	for {
		select {
		case <-r.stop:
			return
		default:
		}
		var out struct{ ID string }
		status := r.c.Admin(node, http.MethodPost, "/api/v1/keys", map[string]any{}, &out)
		r.mu.Lock()
		switch status {
		case http.StatusCreated:
			r.ids = append(r.ids, out.ID)
		case http.StatusConflict:
			r.t.Errorf("a new key was refused as if it were there: it was made twice")
		default:
			r.refused++
		}
		r.mu.Unlock()
	}
}

// once finds every acknowledged key in the audit log, one time.
func (r *repeats) once() {
	lines := map[string]int{}
	for cursor := ""; ; {
		var page struct {
			Items []struct{ ID, Action string }
			Next  string `json:"next_cursor"`
		}
		if status := r.c.Admin(0, http.MethodGet, "/api/v1/audit?kind=key&limit=500&cursor="+cursor, nil, &page); status != http.StatusOK {
			r.t.Fatalf("the audit log: %d", status)
		}
		for _, e := range page.Items {
			lines[e.ID]++
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	for _, id := range r.ids {
		if lines[id] != 1 {
			r.t.Errorf("the audit log has %d lines for key %s, want 1", lines[id], id)
		}
	}
	for id, n := range lines {
		if n > 1 {
			r.t.Errorf("the audit log has %d lines for key %s", n, id)
		}
	}
}
