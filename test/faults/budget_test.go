//go:build e2e

package faults

import (
	"fmt"
	"math/big"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
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
// nodes to show the exact spend within a second, in most of ten rounds: in some a machine may be busy elsewhere.
func TestSpend_VisibleWithinASecond(t *testing.T) {
	c := cluster.Start(t, 3)
	id, secret := c.NewKey(0, map[string]any{})
	var took []time.Duration
	for round := range 10 {
		for range 5 {
			if got := c.Chat(round%3, secret); got != http.StatusOK {
				t.Fatalf("status %d, want 200", got)
			}
		}
		done := time.Now()
		want := int64(5 * (round + 1))
		c.Await("the spend is everywhere", time.Minute, func() bool {
			return keyUsage(c, 0, id).Requests == want && keyUsage(c, 1, id).Requests == want && keyUsage(c, 2, id).Requests == want
		})
		took = append(took, time.Since(done).Round(time.Millisecond))
	}
	slices.Sort(took)
	t.Logf("visible after %s", took)
	if took[len(took)/2] > time.Second {
		t.Errorf("the spend was visible after %s, want a second in most rounds", took)
	}
	billed, _ := bill(t, c)
	awaitSameBooks(t, c, id, billed)
}

// TestLimit_SharedByNodes offers ten times a key's RPM, and expects that no minute holds more
// than the limit, whatever happens, and that all of it is used where nothing does.
func TestLimit_SharedByNodes(t *testing.T) {
	well := cluster.Start(t, 3)
	healthy := func(testing.TB, int) *cluster.Cluster { return well }
	for _, tt := range []struct {
		name   string
		rpm    int
		share  [3]int // of a hundred requests
		during func(c *cluster.Cluster)
		least  int
		start  func(t testing.TB, n int) *cluster.Cluster
	}{
		{"evenly", 600, [3]int{34, 33, 33}, nil, 600, healthy},
		{"90/5/5", 600, [3]int{90, 5, 5}, nil, 600, healthy},
		{"one node", 600, [3]int{0, 100, 0}, nil, 600, healthy},
		{"few", 5, [3]int{34, 33, 33}, nil, 5, healthy},
		{"a node is killed and starts", 600, [3]int{5, 90, 5}, func(c *cluster.Cluster) {
			c.Nodes[1].Kill()
			c.Nodes[1].Start()
			c.Nodes[1].AwaitReady()
		}, 200, cluster.Start},
		{"a node stands still", 600, [3]int{34, 33, 33}, func(c *cluster.Cluster) {
			p, err := os.FindProcess(c.Nodes[2].PID())
			if err != nil {
				return
			}
			_ = p.Signal(syscall.SIGSTOP)
			pause := time.NewTimer(2 * time.Second)
			<-pause.C
			_ = p.Signal(syscall.SIGCONT)
		}, 400, cluster.Start},
		{"all are cut off", 600, [3]int{34, 33, 33}, (*cluster.Cluster).Cut, 200, cluster.StartApart},
		{"a busy node is cut off", 600, [3]int{5, 90, 5}, (*cluster.Cluster).Cut, 200, cluster.StartApart},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.start(t, 3)
			_, secret := c.NewKey(0, map[string]any{"limits": map[string]any{"rpm": tt.rpm}})
			_, before := bill(t, c)
			var sent atomic.Int64
			var once sync.Once
			var wg sync.WaitGroup
			start := time.Now()
			for range 12 {
				wg.Go(func() {
					for i := sent.Add(1); i <= int64(10*tt.rpm); i = sent.Add(1) {
						if tt.during != nil && i > int64(tt.rpm/5) {
							once.Do(func() { wg.Go(func() { tt.during(c) }) })
						}
						at, node := int(i*37)%100, 0
						for at -= tt.share[0]; at >= 0; at -= tt.share[node] {
							node++
						}
						switch status := c.Chat(node, secret); status {
						case http.StatusOK, http.StatusTooManyRequests:
						default:
							if tt.during == nil {
								t.Errorf("status %d, want 200 or 429", status)
							}
						}
					}
				})
			}
			wg.Wait()
			took := time.Since(start)
			_, after := bill(t, c)
			served := int(after - before)
			t.Logf("%d of %d admitted in %s", served, 10*tt.rpm, took.Round(time.Millisecond))
			if took > time.Minute {
				t.Fatal("the minute is over: the offer shows nothing")
			}
			if served > tt.rpm || served < tt.least {
				t.Errorf("%d requests were admitted, want %d to %d", served, tt.least, tt.rpm)
			}
		})
	}
}
