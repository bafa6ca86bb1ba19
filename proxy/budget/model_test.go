package budget_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/tick"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/resource"
)

// grants is a model of the replicated state's rule for one window of one account: nothing
// is granted beyond limit - settled - presumed - outstanding.
type grants struct {
	index    uint64
	limit    resource.Money
	over     resource.Money
	settled  resource.Money
	presumed resource.Money
	recall   bool
	nodes    []*granted
}

type granted struct {
	epoch, seq        uint64
	granted, consumed resource.Money
}

func (g *granted) outstanding() resource.Money { return max(0, g.granted-g.consumed) }

func (s *grants) headroom() resource.Money {
	h := s.limit - s.settled - s.presumed
	for _, n := range s.nodes {
		h -= n.outstanding()
	}
	return h
}

func (s *grants) apply(i int, t tick.Tick) {
	s.index++
	n := s.nodes[i]
	if t.Epoch != n.epoch || t.Seq != n.seq+1 {
		return
	}
	n.seq = t.Seq
	for _, c := range t.Settle {
		s.settled += c.Amount
		n.consumed += c.Amount
	}
	for _, c := range t.Release {
		n.granted -= min(c.Amount, n.outstanding())
		s.recall = s.recall && s.headroom() <= 0
	}
	for _, w := range t.Want {
		room, nodes := s.headroom(), resource.Money(len(s.nodes))
		grant := max(0, min(w.Amount, max(room/(2*nodes), s.limit/(64*nodes), w.Need), room))
		n.granted += grant
		s.recall = room-grant <= 0 && grant < w.Amount
	}
}

func (s *grants) lease(i int) budget.Lease {
	n := s.nodes[i]
	return budget.Lease{
		Account: "key/key_1/day", Window: dayWindow(noon), Epoch: n.epoch, Granted: n.granted, Limit: s.limit, Overdraft: s.over,
		Headroom: s.headroom(), Recall: s.recall,
	}
}

// simNode is one node: the code under test, and its journal and replica as a model.
type simNode struct {
	b       *budget.Budgets
	open    []*budget.Hold
	charges resource.Money // settled and not in a tick
	seq     uint64
	pending *tick.Tick
	ack     *tick.Ack // of pending, on its way
	feed    []feed    // changes that the node's replica has not applied
}

type feed struct {
	index uint64
	lease budget.Lease
}

// TestBound holds every interleaving of requests, ticks (lost, repeated, late), replicas
// that lag, and restarts against spend ≤ limit + nodes × overdraft + overruns.
func TestBound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		const count = 3
		limit := resource.Money(rapid.IntRange(1, 2000).Draw(rt, "limit"))
		overdraft := resource.Money(rapid.IntRange(0, 20).Draw(rt, "overdraft"))
		p := keyWith(resource.Terms{USD: limit, Per: resource.PerDay, Overdraft: overdraft})
		now := noon
		s := &grants{limit: limit, over: overdraft}
		var spent, overruns, extra resource.Money
		nodes := make([]*simNode, count)
		publish := func() {
			for i, n := range nodes {
				n.feed = append(n.feed, feed{s.index, s.lease(i)})
			}
		}
		catchUp := func(n *simNode) {
			for _, f := range n.feed {
				n.b.Leases(f.index, []budget.Lease{f.lease})
			}
			n.feed = nil
		}
		start := func(i int) {
			n := nodes[i]
			n.b = budget.New(budget.Config{Now: func() time.Time { return now }, HasLeader: func() bool { return false }, Nodes: func() int { return count }})
			n.open, n.pending, n.ack, n.seq = nil, nil, nil, 0
			g := s.nodes[i]
			s.index++
			s.presumed += g.outstanding()
			*g = granted{epoch: g.epoch + 1, granted: 0}
			publish()
			n.b.SetEpoch(g.epoch)
		}
		for i := range nodes {
			nodes[i] = &simNode{}
			s.nodes = append(s.nodes, &granted{})
		}
		for i := range nodes {
			start(i)
		}
		pick := func(rt *rapid.T) (int, *simNode) {
			i := rapid.IntRange(0, count-1).Draw(rt, "node")
			return i, nodes[i]
		}
		rt.Repeat(map[string]func(*rapid.T){
			"reserve": func(rt *rapid.T) {
				_, n := pick(rt)
				most := resource.Money(rapid.IntRange(1, 60).Draw(rt, "cost"))
				h, err := n.b.Reserve(context.Background(), request(p, most))
				if err == nil {
					n.open = append(n.open, h)
				}
			},
			"settle": func(rt *rapid.T) {
				_, n := pick(rt)
				if len(n.open) == 0 {
					return
				}
				h := n.open[0]
				n.open = n.open[1:]
				spend := resource.Money(rapid.IntRange(0, 70).Draw(rt, "actual"))
				overruns += max(0, spend-h.Amount())
				spent += spend
				for _, c := range h.Settle(cost(spend)) {
					n.charges += c.Amount
				}
				h.Release()
			},
			"tick": func(rt *rapid.T) { // built once, then sent again and again
				i, n := pick(rt)
				if n.pending == nil {
					w, r := n.b.Demand()
					n.seq++
					n.pending = &tick.Tick{Epoch: s.nodes[i].epoch, Seq: n.seq, Want: w, Release: r}
					if n.charges > 0 {
						n.pending.Settle = []ledger.AccountCharge{{Amount: n.charges}}
						n.charges = 0
					}
				}
				s.apply(i, *n.pending)
				publish()
				n.ack = &tick.Ack{Index: s.index}
			},
			"answer": func(rt *rapid.T) {
				_, n := pick(rt)
				if n.ack != nil {
					n.b.Acked(*n.pending, *n.ack)
					n.pending, n.ack = nil, nil
				}
			},
			"replica applies": func(rt *rapid.T) { // in order, by one entry or all
				_, n := pick(rt)
				if len(n.feed) > 0 && rapid.Bool().Draw(rt, "one") {
					n.b.Leases(n.feed[0].index, []budget.Lease{n.feed[0].lease})
					n.feed = n.feed[1:]
					return
				}
				catchUp(n)
			},
			"time": func(rt *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(rt, "ms")) * time.Millisecond)
			},
			"kill": func(rt *rapid.T) {
				i, n := pick(rt)
				for _, h := range n.open { // the upstream may bill all that was held
					spent += h.Amount()
				}
				applied := n.pending != nil && n.pending.Seq <= s.nodes[i].seq
				if n.pending != nil && !applied {
					for _, c := range n.pending.Settle {
						n.charges += c.Amount
					}
				}
				old := n.charges
				for _, h := range n.open {
					old += h.Amount()
				}
				n.charges = 0
				extra += overdraft // each epoch has its own
				start(i)
				s.settled += old // settled against the old epoch's presumed
				s.presumed -= min(s.presumed, old)
			},
			"": func(rt *rapid.T) {
				reserved := resource.Money(0)
				for _, n := range nodes {
					for _, h := range n.open {
						reserved += h.Amount()
					}
				}
				if bound := limit + count*overdraft + extra + overruns; spent+reserved > bound {
					rt.Fatalf("spent %d and reserved %d of a bound of %d", spent, reserved, bound)
				}
			},
		})
	})
}

// TestUse drives three nodes until nothing more is admitted: a budget must not be left
// stranded in leases that nobody uses.
func TestUse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		hot  []int // which node the requests go to, in turn
	}{{"even", []int{0, 1, 2}}, {"one hot node", []int{0}}, {"moves at half", []int{0, 1}}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const limit = 10_000
			p := keyWith(daily(limit))
			now := noon
			s := &grants{limit: limit}
			var bs []*budget.Budgets
			seq := make([]uint64, 3)
			charges := make([]resource.Money, 3)
			for i := range 3 {
				s.nodes = append(s.nodes, &granted{epoch: 1, granted: limit / 12})
				b := budget.New(budget.Config{Now: func() time.Time { return now }, HasLeader: func() bool { return false }, Nodes: func() int { return 3 }})
				b.SetEpoch(1)
				bs = append(bs, b)
				_ = i
			}
			spent := resource.Money(0)
			for round := range 3000 {
				for range 2 {
					i := tt.hot[round%len(tt.hot)]
					if tt.name == "moves at half" {
						i = min(1, int(spent/(limit/2)))
					}
					if h, err := reserve(bs[i], p, 10); err == nil {
						charges[i] += h.Settle(cost(5))[0].Amount
						spent += 5
						h.Release()
					}
				}
				for i, b := range bs {
					w, r := b.Demand()
					seq[i]++
					t := tick.Tick{Epoch: 1, Seq: seq[i], Want: w, Release: r, Settle: []ledger.AccountCharge{{Amount: charges[i]}}}
					charges[i] = 0
					s.apply(i, t)
					for k, o := range bs {
						o.Leases(s.index, []budget.Lease{s.lease(k)})
					}
					b.Acked(t, tick.Ack{Index: s.index})
				}
				now = now.Add(100 * time.Millisecond)
			}
			if spent > limit || spent < limit*98/100 {
				t.Errorf("spent %d of %d: %s", spent, limit, fmt.Sprint(s.nodes[0], s.nodes[1], s.nodes[2]))
			}
		})
	}
}

// TestUse_LargeHolds asks three nodes in turn for a large part of a budget at a time: while it has room for two such requests
// none is refused, though each node may have a piece of lease that is too small for one.
func TestUse_LargeHolds(t *testing.T) {
	t.Parallel()
	for _, part := range []resource.Money{2, 3, 4, 5, 7} {
		t.Run(fmt.Sprint(int(part)), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const limit = 10_000
				hold := limit / part
				p := keyWith(daily(limit))
				began := time.Now()
				s := &grants{limit: limit}
				var mu sync.Mutex // guards s and charges
				var bs []*budget.Budgets
				seq := make([]uint64, 3)
				charges := make([]resource.Money, 3)
				asked := make([]chan struct{}, 3)
				for i := range 3 {
					asked[i] = make(chan struct{}, 1)
					s.nodes = append(s.nodes, &granted{epoch: 1, granted: limit / 12})
					b := budget.New(budget.Config{Now: func() time.Time { return noon.Add(time.Since(began)) }, HasLeader: func() bool { return true }, Nodes: func() int { return 3 }, Ask: func() {
						select {
						case asked[i] <- struct{}{}:
						default:
						}
					}})
					b.SetEpoch(1)
					bs = append(bs, b)
				}
				ctx, cancel := context.WithCancel(t.Context())
				var ticks sync.WaitGroup
				defer ticks.Wait()
				defer cancel()
				for i, b := range bs {
					ticks.Go(func() {
						for ctx.Err() == nil {
							select {
							case <-asked[i]:
							case <-time.After(100 * time.Millisecond):
							}
							mu.Lock()
							w, r := b.Demand()
							seq[i]++
							k := tick.Tick{Epoch: 1, Seq: seq[i], Want: w, Release: r, Settle: []ledger.AccountCharge{{Amount: charges[i]}}}
							charges[i] = 0
							s.apply(i, k)
							for n, o := range bs {
								o.Leases(s.index, []budget.Lease{s.lease(n)})
							}
							b.Acked(k, tick.Ack{Index: s.index})
							mu.Unlock()
						}
					})
				}
				left := resource.Money(limit)
				for i := 0; left >= 2*hold; i = (i + 1) % 3 {
					h, err := bs[i].Reserve(ctx, request(p, hold))
					if err != nil {
						t.Fatalf("%d of %d are left, and a request for %d is refused: %v (%v)", left, limit, hold, err, fmt.Sprint(*s.nodes[0], *s.nodes[1], *s.nodes[2]))
					}
					mu.Lock()
					charges[i] += h.Settle(cost(hold / 20))[0].Amount
					mu.Unlock()
					left -= hold / 20
					h.Release()
					time.Sleep(30 * time.Millisecond)
				}
			})
		})
	}
}
