//go:build e2e

package faults

import (
	"fmt"
	"math/big"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// The demo model's prices in nanodollars a token, as the cluster's file has them.
const (
	promptNanos     = 150
	completionNanos = 600
)

// bill is what the upstream would charge, in nanodollars: the truth that the cluster's own
// books are held against.
func bill(t *testing.T, c *cluster.Cluster) (nanos, requests int64) {
	t.Helper()
	var u struct {
		Requests   int64 `json:"requests"`
		Prompt     int64 `json:"prompt_tokens"`
		Completion int64 `json:"completion_tokens"`
	}
	if status := cluster.Call(t, http.MethodGet, c.MockURL()+"/mock/usage", "", nil, &u); status != http.StatusOK {
		t.Fatalf("the upstream's bill: status %d", status)
	}
	return u.Prompt*promptNanos + u.Completion*completionNanos, u.Requests
}

// TestBudget_NeverOverspent sends far more requests at a key than its budget holds, through
// all nodes at once, kills the leader on the way, and compares with the upstream's bill: the
// budget is spent and not overspent, and every node shows the same to the nanodollar.
func TestBudget_NeverOverspent(t *testing.T) {
	c := cluster.Start(t, 3)
	const limit = 2_000_000 // nanodollars: $0.002, about 630 requests
	id, secret := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 0.002, "per": "total"}}})
	ask := cluster.ChatBody()
	ask["max_tokens"] = 16
	var ok, refused, lost atomic.Int64
	var wg sync.WaitGroup
	leader := c.Leader()
	send := func(n int) {
		for i := range n {
			node := i % 3
			wg.Go(func() {
				switch status := cluster.Call(t, http.MethodPost, c.Nodes[node].URL+"/v1/chat/completions", secret, ask, nil); status {
				case http.StatusOK:
					ok.Add(1)
				case http.StatusTooManyRequests:
					refused.Add(1)
				case 0, http.StatusServiceUnavailable:
					lost.Add(1)
				default:
					t.Errorf("status %d, want 200 or 429", status)
				}
			})
			if i%20 == 19 {
				wg.Wait()
			}
		}
		wg.Wait()
	}
	send(60)
	c.Nodes[leader].Kill()
	send(300)
	c.Nodes[leader].Start()
	c.Nodes[leader].AwaitReady()
	send(600)
	billed, requests := bill(t, c)
	t.Logf("%d answered, %d refused, %d lost; billed %d of %d nanodollars for %d requests", ok.Load(), refused.Load(), lost.Load(), billed, limit, requests)
	if billed > limit {
		t.Errorf("the upstream billed %d nanodollars, want at most %d", billed, limit)
	}
	if refused.Load() == 0 {
		t.Error("no request was refused")
	}
	if ok.Load() > 0 && billed < limit*8/10 {
		t.Errorf("the upstream billed %d nanodollars, want the budget used to 80 %% at least", billed)
	}
	if lost.Load() == 0 { // an estimate for a cut request may be more than its bill
		awaitSameBooks(t, c, id, billed)
	}
}

// awaitSameBooks waits until every node's total for the key is exactly the nanodollars.
func awaitSameBooks(t *testing.T, c *cluster.Cluster, id string, nanos int64) {
	t.Helper()
	want := new(big.Rat).SetFrac64(nanos, 1_000_000_000)
	c.Await(fmt.Sprintf("every node shows %d nanodollars", nanos), 10*time.Second, func() bool {
		for node := range c.Nodes {
			got := new(big.Rat)
			if _, ok := got.SetString(keyCost(c, node, id)); !ok || got.Cmp(want) != 0 {
				return false
			}
		}
		return true
	})
}

// TestSpend_VisibleWithinASecond sends requests through one node and expects the other
// nodes to show the exact spend within a second.
func TestSpend_VisibleWithinASecond(t *testing.T) {
	c := cluster.Start(t, 3)
	id, secret := c.NewKey(0, map[string]any{})
	for round := range 10 {
		for range 5 {
			if got := c.Chat(round%3, secret); got != http.StatusOK {
				t.Fatalf("status %d, want 200", got)
			}
		}
		done := time.Now()
		want := int64(5 * (round + 1))
		c.Await("the spend is everywhere", time.Second-time.Since(done), func() bool {
			return keyUsage(c, 0, id).Requests == want && keyUsage(c, 1, id).Requests == want && keyUsage(c, 2, id).Requests == want
		})
	}
	billed, _ := bill(t, c)
	awaitSameBooks(t, c, id, billed)
}

// TestLimit_SharedByNodes offers ten times a key's RPM through all nodes and expects no
// more than the limit to be admitted within a minute.
func TestLimit_SharedByNodes(t *testing.T) {
	c := cluster.Start(t, 3)
	const limit = 60
	_, secret := c.NewKey(0, map[string]any{"limits": map[string]any{"rpm": limit}})
	var ok, refused atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for worker := range 12 {
		wg.Go(func() {
			for range limit * 10 / 12 {
				switch status := c.Chat(worker%3, secret); status {
				case http.StatusOK:
					ok.Add(1)
				case http.StatusTooManyRequests:
					refused.Add(1)
				default:
					t.Errorf("status %d, want 200 or 429", status)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d admitted, %d refused in %s", ok.Load(), refused.Load(), time.Since(start).Round(time.Millisecond))
	if time.Since(start) < 50*time.Second && ok.Load() > limit {
		t.Errorf("%d requests were admitted, want at most %d", ok.Load(), limit)
	}
	if ok.Load() < limit*8/10 {
		t.Errorf("%d requests were admitted, want about %d", ok.Load(), limit)
	}
}
