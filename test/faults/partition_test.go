//go:build e2e

package faults

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/test/cluster"
)

// parting is one way to cut a node off, and for how long.
type parting struct {
	leader bool   // that node, else a follower
	how    string // what is lost: "both", "out" or "in", as the node sees it
	kill   bool   // kill -9 it while it is cut off, and start it again
	length time.Duration
}

func (p parting) String() string {
	who := "a follower"
	if p.leader {
		who = "the leader"
	}
	killed := ""
	if p.kill {
		killed = ", killed meanwhile"
	}
	return fmt.Sprintf("%s, %s%s, for %s", who, p.how, killed, p.length.Round(10*time.Millisecond))
}

func (p parting) cut(c *cluster.Cluster, node int) {
	if p.how != "in" {
		c.Mute(node)
	}
	if p.how != "out" {
		c.Deafen(node)
	}
}

// partings are those of the test: a few, or with CONCLAVE_FULL twenty at random, which
// CONCLAVE_SEED repeats.
func partings(t *testing.T) (list []parting) {
	if !full() {
		return []parting{
			{leader: true, how: "both", length: 2500 * time.Millisecond},
			{leader: false, how: "both", kill: true, length: 1500 * time.Millisecond},
			{leader: true, how: "out", length: 2500 * time.Millisecond},
			{leader: false, how: "in", length: 1500 * time.Millisecond},
		}
	}
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("CONCLAVE_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("CONCLAVE_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 3))
	for i := range 20 {
		list = append(list, parting{
			leader: i%2 == 0, how: []string{"both", "out", "in"}[r.IntN(3)], kill: r.IntN(3) == 0,
			length: 500*time.Millisecond + time.Duration(r.IntN(6000))*time.Millisecond,
		})
	}
	return list
}

// TestMoney_Partition cuts nodes off from the others under load, each time with a new key that
// has a dollar. At every look at any node, what is settled, presumed spent and leased is no
// more than the dollar, and the bill is not either. When all is well again every node has the
// same books, in which each billed request stands once, and they are the bill, but for what a
// killed process could not settle. In the end all records of all nodes add up.
func TestMoney_Partition(t *testing.T) {
	c := cluster.StartApart(t, 3)
	ask := dear(c, t)
	for _, p := range partings(t) {
		t.Run(p.String(), func(t *testing.T) { spendParted(t, c, ask, p) })
	}
	awaitLedger(t, c)
}

// least is what of a dollar must be spent in the end. A killed node's holds are presumed spent.
const least = 80 * resource.Dollar / 100

// spendParted spends a dollar through all nodes, of which one is cut off meanwhile.
func spendParted(t *testing.T, c *cluster.Cluster, ask map[string]any, p parting) {
	id, secret := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 1, "per": "total", "strict": true}}})
	billedBefore, requestsBefore := dearBill(t, c)
	leader := c.Leader()
	node := leader
	if !p.leader {
		node = (leader + 1) % 3
	}
	s := spenders(t, c, secret, ask, spendPause)
	c.Await("every node serves the key", 10*time.Second, func() bool {
		return s.ok[0].Load() > 0 && s.ok[1].Load() > 0 && s.ok[2].Load() > 0
	})
	a := audit(t, c, id, resource.Dollar, 3*time.Millisecond)
	p.cut(c, node)
	atCut := s.ok[node].Load()
	if p.kill {
		<-time.After(p.length / 2)
		c.Nodes[node].Kill()
		c.Nodes[node].Start()
	}
	<-time.After(p.length)
	whileCut := s.ok[node].Load() - atCut
	c.Heal()
	for _, n := range c.Nodes {
		n.AwaitReady()
	}
	c.Await("the dollar is spent", 30*time.Second, func() bool { // nodes without a leader refuse what they have no lease for
		billed, _ := dearBill(t, c)
		return refusedEverywhere(t, c, secret, ask, s) && billed-billedBefore >= least
	})
	s.end()
	a.end()
	billed, requests := dearBill(t, c)
	billed, requests = billed-billedBefore, requests-requestsBefore
	ok := s.answered()
	t.Logf("%d answered, of them %d by the node while it was cut off, %d refused, %d lost; billed %s for %d requests; %d looks, at most %s",
		ok, whileCut, s.refused.Load(), s.lost.Load(), billed, requests, a.looks, a.most)
	if billed > resource.Dollar {
		t.Errorf("the upstream billed %s of a dollar", billed)
	}
	if a.looks < 10 {
		t.Errorf("%d looks at the account, want more", a.looks)
	}
	if s.lost.Load() != 0 && !p.kill {
		t.Errorf("%d requests got no answer", s.lost.Load())
	}
	awaitBooks(t, c, id, billed, requests, ok, !p.kill)
	got := keyUsage(c, 0, id)
	if answered := got.Requests - got.Failures; answered > requests {
		t.Errorf("the books have %d answered requests, the upstream %d: some stand twice", answered, requests)
	}
	// A kill cuts off two requests at most, which are charged what they held.
	cost, err := resource.ParseMoney(got.Cost.String())
	if most := billed + 2*(16*dearCompletion+200*dearPrompt); err != nil || cost > most {
		t.Errorf("the books have %s, want %s at most: the bill and what the cut requests held", cost, most)
	}
}

// spending is a load of one key through all nodes, slow enough that a dollar lasts a while.
type spending struct {
	ok            [3]atomic.Int64
	refused, lost atomic.Int64
	stop          chan struct{}
	wg            sync.WaitGroup
}

// spendPause is between two requests of a worker with which a dollar lasts for some seconds.
const spendPause = 150 * time.Millisecond

// spenders sends requests by two workers a node, each with pauses.
func spenders(t *testing.T, c *cluster.Cluster, secret string, ask map[string]any, pause time.Duration) *spending {
	s := &spending{stop: make(chan struct{})}
	for i := range 6 {
		node := i % 3
		s.wg.Go(func() {
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for {
				select {
				case <-s.stop:
					return
				case <-tick.C:
				}
				switch status := cluster.Call(t, http.MethodPost, c.Nodes[node].URL+"/v1/chat/completions", secret, ask, nil); status {
				case http.StatusOK:
					s.ok[node].Add(1)
				case http.StatusTooManyRequests, http.StatusServiceUnavailable:
					s.refused.Add(1)
				case 0:
					s.lost.Add(1)
				default:
					t.Errorf("status %d, want 200, 429 or 503", status)
				}
			}
		})
	}
	return s
}

func (s *spending) end() {
	close(s.stop)
	s.wg.Wait()
}

func (s *spending) answered() int64 { return s.ok[0].Load() + s.ok[1].Load() + s.ok[2].Load() }

// refusedEverywhere asks every node once and says whether all refuse the key.
func refusedEverywhere(t *testing.T, c *cluster.Cluster, secret string, ask map[string]any, s *spending) bool {
	all := true
	for i := range c.Nodes {
		status := cluster.Call(t, http.MethodPost, c.Nodes[i].URL+"/v1/chat/completions", secret, ask, nil)
		if status == http.StatusOK {
			s.ok[i].Add(1)
		}
		all = all && status == http.StatusTooManyRequests
	}
	return all
}

// awaitLedger waits until `conclave ledger verify` finds no difference between what all nodes
// recorded and the replicated totals.
func awaitLedger(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	var out []byte
	c.AwaitThat("the ledger adds up", 30*time.Second, func() (bool, string) {
		cmd := exec.CommandContext(t.Context(), cluster.Binary(t), "ledger", "verify", "--server", c.Nodes[0].URL, "--key", cluster.MasterKey)
		var err error
		out, err = cmd.CombinedOutput()
		return err == nil, string(out)
	})
	t.Logf("ledger verify: %s", out)
}

// TestMoney_Isolated cuts a follower off from the others under load, with CONCLAVE_FULL for half an hour. All that time it serves a key that
// it knows; of a budget it spends no more than what it held of it when it was cut off; it takes no admin writes, and of keys that
// it does not know says that it cannot tell. The others do all of it. Soon after healing every node has the upstream's bill, to the nanodollar.
func TestMoney_Isolated(t *testing.T) {
	c := cluster.StartApart(t, 3)
	limit := resource.Dollar
	if full() {
		limit *= 100
	}
	ask := dear(c, t)
	tight, tightSecret := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": int64(limit / resource.Dollar), "per": "total", "strict": true}}})
	open, openSecret := c.NewKey(0, map[string]any{})
	node := (c.Leader() + 1) % 3
	other := (node + 1) % 3
	pause := lasting(spendPause, time.Second)
	s, o := spenders(t, c, tightSecret, ask, pause), spenders(t, c, openSecret, cluster.ChatBody(), pause)
	a := audit(t, c, tight, limit, lasting(3*time.Millisecond, 100*time.Millisecond))
	for i := range c.Nodes {
		c.Await("every node serves both keys", 20*time.Second, func() bool { return s.ok[i].Load() > 0 && o.ok[i].Load() > 0 })
	}
	billed, requests := dearBill(t, c)
	each := billed / resource.Money(requests) // all are alike
	c.Mute(node)
	c.Deafen(node)
	cut := time.Now()
	held := metric(t, c, node, "conclave_budget_lease_dollars")
	before := s.ok[node].Load()
	refuses := func() (bool, string) {
		status, text := cluster.CallRaw(t, http.MethodPost, c.Nodes[node].URL+"/api/v1/keys", cluster.MasterKey, map[string]any{})
		return status == http.StatusServiceUnavailable && contains(text, `"no_leader"`), fmt.Sprintf("%d %s", status, text)
	}
	c.AwaitThat("the node that is cut off has no leader", 20*time.Second, refuses)
	_, later := c.NewKey(other, map[string]any{})
	knows := func() (int, string) {
		status, text := cluster.CallRaw(t, http.MethodGet, c.Nodes[node].URL+"/v1/models", later, nil)
		return status, string(text)
	}
	writes := 1
	for {
		if status, text := knows(); status != http.StatusServiceUnavailable {
			t.Errorf("a key that was made since: %d %s, want 503: it may be good", status, text)
		}
		if status, _ := tryKey(t, c, other); status != http.StatusCreated {
			t.Errorf("a write through another node: status %d, want 201", status)
		}
		left := lasting(0, 30*time.Minute) - time.Since(cut)
		if left <= 0 {
			break
		}
		pass(min(left, 20*time.Second))
		if ok, instead := refuses(); !ok {
			t.Errorf("a write through the node that is cut off: %s, want 503 no_leader", instead)
		}
		writes++
	}
	alone := s.ok[node].Load() - before
	apart := time.Since(cut)
	c.Heal()
	for _, n := range c.Nodes {
		n.AwaitReady()
	}
	c.AwaitThat("the node serves the key that was made meanwhile", 20*time.Second, func() (bool, string) {
		status, text := knows()
		return status == http.StatusOK, text
	})
	well := time.Since(cut) - apart
	s.end()
	o.end()
	a.end()
	t.Logf("cut off for %s: it answered %d requests of the budget's key, %s; it had %.4f dollars of it; %d writes refused there; well %s after healing", apart.Round(time.Second),
		alone, resource.Money(alone)*each, held, writes, well.Round(10*time.Millisecond))
	// What two workers had in flight when it was cut off was held already.
	if spent := float64(resource.Money(alone-2)*each) / float64(resource.Dollar); held < 0 || spent > held {
		t.Errorf("the node spent %.4f dollars while it was cut off, and had %.4f", spent, held)
	}
	if o.refused.Load()+o.lost.Load()+s.lost.Load() > 0 {
		t.Errorf("of the key without a budget %d requests were refused and %d lost, of the other one %d lost, want none", o.refused.Load(), o.lost.Load(), s.lost.Load())
	}
	billed, requests = dearBill(t, c)
	t.Logf("with a budget of %s: %d answered, %d refused, billed %s for %d; %d looks, at most %s", limit, s.answered(), s.refused.Load(), billed, requests, a.looks, a.most)
	if billed > limit {
		t.Errorf("the upstream billed %s of %s", billed, limit)
	}
	awaitBooks(t, c, tight, billed, requests, s.answered(), true)
	billed, requests = billOf(t, c, "demo", promptNanos, completionNanos)
	awaitBooks(t, c, open, billed, requests, o.answered(), true)
	awaitLedger(t, c)
}

// TestKeys_RevokedBehindAPartition deletes a key while a node is cut off: there it works until
// the node's state is too old to serve anybody, and at once after healing it is refused.
func TestKeys_RevokedBehindAPartition(t *testing.T) {
	c := cluster.StartApart(t, 3)
	if status := c.Admin(0, http.MethodPut, "/api/v1/settings/serve_stale", map[string]any{"value": "fail_closed"}, nil); status/100 != 2 {
		t.Fatalf("set serve_stale: status %d", status)
	}
	gone, goneSecret := c.NewKey(0, map[string]any{})
	late, lateSecret := c.NewKey(0, map[string]any{})
	_, goodSecret := c.NewKey(0, map[string]any{})
	leader := c.Leader()
	node, other := (leader+1)%3, (leader+2)%3
	chat := func(what string, at int, secret string, want int) {
		t.Helper()
		if got := c.Chat(at, secret); got != want {
			t.Errorf("%s on node %s: status %d, want %d", what, c.Nodes[at].Name, got, want)
		}
	}
	for i := range c.Nodes {
		c.Await("the node knows the keys", 5*time.Second, func() bool {
			return c.Chat(i, goneSecret) == 200 && c.Chat(i, lateSecret) == 200 && c.Chat(i, goodSecret) == 200
		})
	}
	known := time.Now().Add(200 * time.Millisecond)
	c.Await("every node has told that it knows the setting", 5*time.Second, func() bool {
		var all struct {
			Members []struct {
				LastTick time.Time `json:"last_tick"`
			}
		}
		c.Admin(0, http.MethodGet, "/api/v1/cluster", nil, &all)
		for _, m := range all.Members {
			if m.LastTick.Before(known) {
				return false
			}
		}
		return len(all.Members) == len(c.Nodes)
	})
	cutAt := time.Now()
	c.Mute(node)
	c.Deafen(node)
	receipt := revoke(c, t, other, gone)
	until, err := time.Parse(time.RFC3339, receipt.Get("x-conclave-pending-until"))
	if err != nil || receipt.Get("x-conclave-pending") != c.Nodes[node].Name || strings.Contains(receipt.Get("x-conclave-enforced-by"), c.Nodes[node].Name) {
		t.Errorf("the receipt says %v, want node %s alone pending, and until when", receipt, c.Nodes[node].Name)
	}
	chat("a deleted key", leader, goneSecret, http.StatusUnauthorized)
	chat("a deleted key", other, goneSecret, http.StatusUnauthorized)
	chat("a key that was deleted elsewhere", node, goneSecret, http.StatusOK)
	// With fail_closed a node serves for the ten seconds in which its state counts as fresh.
	c.Await("the node that is cut off serves nobody", 12*time.Second-time.Since(cutAt), func() bool {
		return c.Chat(node, goneSecret) == http.StatusServiceUnavailable
	})
	t.Logf("the node that is cut off served for %s, until %s before the receipt says", time.Since(cutAt).Round(time.Millisecond), time.Until(until).Round(time.Millisecond))
	if time.Now().After(until.Add(time.Second)) {
		t.Errorf("it served after %v, by when the receipt says that it would not", until)
	}
	chat("a good key", node, goodSecret, http.StatusServiceUnavailable)
	chat("a good key", other, goodSecret, http.StatusOK)
	revoke(c, t, leader, late)
	c.Heal()
	healed := time.Now()
	c.Await("the node that was cut off serves again", 15*time.Second, func() bool {
		for _, secret := range []string{goneSecret, lateSecret} {
			if got := c.Chat(node, secret); got == http.StatusOK {
				t.Errorf("a deleted key is served %s after healing", time.Since(healed))
			}
		}
		return c.Chat(node, goodSecret) == http.StatusOK
	})
	t.Logf("it serves again %s after healing", time.Since(healed).Round(time.Millisecond))
	chat("a deleted key", node, goneSecret, http.StatusUnauthorized)
	chat("a deleted key", node, lateSecret, http.StatusUnauthorized)
}

// revoke deletes a key, and returns the headers of the answer.
func revoke(c *cluster.Cluster, t *testing.T, node int, id string) http.Header {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, c.Nodes[node].URL+"/api/v1/keys/"+id, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+cluster.MasterKey)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode/100 != 2 {
		t.Fatalf("delete key: status %d", res.StatusCode)
	}
	return res.Header
}
