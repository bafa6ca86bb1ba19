package torture

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/tick"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/resource"
)

// nodesToldOf is how many members each node believes in.
const nodesToldOf = 3

// simNode is a member: the leases under test, and its journal, ticks and replica as models.
type simNode struct {
	id      string
	up      bool
	removed bool
	skew    time.Duration

	b     *budget.Budgets
	leads bool          // there is a leader: requests may wait for grants
	asked chan struct{} // somebody waits
	epoch uint64        // of the process, in its journal; 0: not known yet
	open  []*request
	who   *resource.Principal // as the replica has it
	view  atomic.Pointer[map[place]budget.Lease]
	feed  []news // not applied by the replica

	process int
	epochs  map[int]uint64  // of each process; missing: never learned
	torn    map[uint64]bool // epochs whose journal lost its end
	journal []entry
	number  uint64 // of the newest entry
	synced  uint64

	acked   uint64 // entries up to here are in the state
	seq     uint64
	pending *tick.Tick
	old     bool // an earlier epoch is not closed yet
}

// news is the state after an entry.
type news struct {
	index  uint64
	who    *resource.Principal
	leases []fsm.Lease
}

// request is one that was sent to the provider and has not been settled.
type request struct {
	hold    *budget.Hold
	number  uint64 // of its reservation
	held    []ledger.AccountCharge
	dollars resource.Money // that are held
}

// entry is one record of a journal.
type entry struct {
	number   uint64
	process  int
	reserved uint64 // number of the reservation that this settles; 0: this is one
	charges  []ledger.AccountCharge
	cost     resource.Money // dollars
	billed   resource.Money // by the provider
	day      int32
}

func (n *simNode) actor() fsm.Actor { return fsm.Actor{Kind: "node", ID: n.id} }

// reset forgets what an earlier schedule left.
func (n *simNode) reset() {
	n.open, n.feed, n.pending, n.who = nil, nil, nil, nil
	n.journal = nil
}

func (n *simNode) write(e entry) uint64 {
	n.number++
	e.number, e.process = n.number, n.process
	n.journal = append(n.journal, e)
	return n.number
}

func chargesOf(cs []ledger.AccountCharge) []ledger.AccountCharge { return slices.Clone(cs) }

// start begins a process: what the last one left open is charged its hold.
func (w *world) start(n *simNode) {
	settled := map[uint64]bool{}
	for _, e := range n.journal {
		settled[e.reserved] = true
	}
	for _, e := range slices.Clone(n.journal) {
		if e.reserved == 0 && !settled[e.number] {
			n.write(entry{reserved: e.number, charges: e.charges, cost: e.cost, day: e.day})
		}
	}
	n.synced = n.number
	n.process++
	n.up, n.epoch, n.open, n.pending = true, 0, nil, nil
	n.skew = time.Duration(w.r.Int64N(int64(2*maxSkew))) - maxSkew
	n.leads, n.asked = false, make(chan struct{}, 1)
	n.view.Store(&map[place]budget.Lease{})
	n.b = budget.New(budget.Config{
		Now: func() time.Time { return w.now.Add(n.skew) }, HasLeader: func() bool { return n.leads },
		Nodes: func() int { return nodesToldOf },
		Ask: func() {
			select {
			case n.asked <- struct{}{}:
			default:
			}
		},
		Lookup: func(id resource.AccountID, start resource.Time) (budget.Lease, bool) {
			l, ok := (*n.view.Load())[place{id, start}]
			return l, ok
		},
	})
	n.feed = []news{w.news(n)}
	n.catchUp(1)
	w.say("%s starts", n.id)
}

// catchUp lets the replica apply some entries.
func (n *simNode) catchUp(count int) {
	for _, c := range n.feed[:count] {
		n.who = c.who
		view := map[place]budget.Lease{}
		for _, l := range c.leases {
			view[place{l.Account, l.Window.Start}] = Lease(l)
		}
		n.view.Store(&view)
		if n.up {
			n.b.Leases(c.index, Leases(c.leases))
		}
	}
	n.feed = n.feed[count:]
}

// openEpoch is what a process does first; the answer may get lost with the process.
func (w *world) openEpoch(n *simNode) {
	if !n.up || n.epoch != 0 || n.removed {
		return
	}
	w.must(w.applyAll(n.actor(), fsm.OpenEpoch{Node: n.id}))
	n.catchUp(len(n.feed))
	if w.chance(10) {
		w.say("%s takes an epoch and does not hear of it", n.id)
		return
	}
	s, _ := w.f.Node(n.id)
	n.epoch, n.seq, n.acked, n.old = s.Epoch, 0, s.Covered, true
	n.epochs[n.process] = n.epoch
	n.b.SetEpoch(n.epoch)
	n.b.Leases(w.index, Leases(w.f.LeasesOf(n.id)))
	w.say("%s has epoch %d", n.id, n.epoch)
}

// epochOf is the epoch that an entry is settled against: its process's, else, where that
// never learned it, the one before.
func (n *simNode) epochOf(e *entry) uint64 {
	for p := e.process; p > 0; p-- {
		if epoch := n.epochs[p]; epoch != 0 && (epoch < n.epoch || p == n.process) {
			return epoch
		}
	}
	return n.epoch - 1
}

// build makes the next tick.
func (n *simNode) build() *tick.Tick {
	n.seq++
	t := &tick.Tick{Node: n.id, Epoch: n.epoch, Seq: n.seq, From: n.acked, To: n.synced}
	sums := map[place]resource.Money{}
	var spend ledger.SpendDelta
	count := 0
	for i := range n.journal {
		e := &n.journal[i]
		if e.number <= n.acked || e.number > n.synced || e.reserved == 0 {
			continue
		}
		epoch := n.epochOf(e)
		if epoch == n.epoch {
			epoch = 0
		}
		if count > 0 && (epoch != t.OldEpoch || count == 4) {
			t.To = e.number - 1
			break
		}
		t.OldEpoch = epoch
		count++
		for _, c := range e.charges {
			sums[place{c.Account, c.Start}] += c.Amount
		}
		spend.Cost += e.cost
		spend.Requests++
		spend.Day = e.day
	}
	for p, m := range sums {
		t.Settle = append(t.Settle, ledger.AccountCharge{Account: p.account, Start: p.start, Amount: m})
	}
	ledger.SortCharges(t.Settle)
	if count > 0 {
		spend.KeyID, spend.TeamID, spend.Model = n.who.Key.ID, n.who.Key.TeamID, "demo"
		t.Spend = []ledger.SpendDelta{spend}
	}
	t.Want, t.Release = n.b.Demand()
	return t
}

// tick sends the pending tick, or a new one; either way may be lost.
func (w *world) tick(n *simNode, lose, loseAnswer bool) {
	if !n.up || n.epoch == 0 || n.removed {
		return
	}
	if n.pending == nil {
		n.pending = n.build()
		w.wire = append(w.wire, Tick(*n.pending))
	}
	w.say("%s ticks %d.%d: settle %v want %v release %v old %d; lost %v, answer lost %v", n.id, n.epoch, n.pending.Seq,
		n.pending.Settle, n.pending.Want, n.pending.Release, n.pending.OldEpoch, lose, loseAnswer)
	if lose {
		return
	}
	w.must(w.applyAll(n.actor(), fsm.TickGroup{Ticks: []fsm.Tick{Tick(*n.pending)}}))
	if !loseAnswer {
		w.hear(n)
	}
}

// hear gives a node the answer to its tick.
func (w *world) hear(n *simNode) {
	n.catchUp(len(n.feed))
	s, _ := w.f.Node(n.id)
	w.answer(n, tick.Ack{Epoch: s.Epoch, Seq: s.Seq, To: s.Covered, Index: w.index})
}

// tickAll sends the ticks of all nodes in one entry, as a leader does that has several.
func (w *world) tickAll() {
	var g fsm.TickGroup
	var senders []*simNode
	for _, n := range w.nodes {
		if !n.up || n.epoch == 0 || n.removed {
			continue
		}
		if n.pending == nil {
			n.pending = n.build()
			w.wire = append(w.wire, Tick(*n.pending))
		}
		g.Ticks = append(g.Ticks, Tick(*n.pending))
		senders = append(senders, n)
	}
	if len(senders) == 0 {
		return
	}
	w.say("%d nodes tick at once", len(senders))
	w.must(w.applyAll(senders[0].actor(), g))
	for _, n := range senders {
		w.hear(n)
	}
}

func (w *world) answer(n *simNode, a tick.Ack) {
	t := n.pending
	switch {
	case a.Epoch != n.epoch: // an epoch was opened whose opener never heard of it
		w.say("%s is superseded", n.id)
		n.b.Void()
		n.epoch, n.pending = 0, nil
	case a.Seq+1 < t.Seq, a.Seq < t.Seq && a.To != t.From, a.Seq >= t.Seq && a.To < t.To:
		n.seq, n.acked, n.pending = a.Seq, a.To, nil
	case a.Seq >= t.Seq:
		n.acked, n.pending = t.To, nil
		n.b.Acked(*t, a)
		if t.OldEpoch == 0 && n.old && !n.hasOld() {
			w.closeEpochs(n)
		}
	}
}

// hasOld says whether records of earlier epochs are not in the state yet.
func (n *simNode) hasOld() bool {
	return slices.ContainsFunc(n.journal, func(e entry) bool {
		return e.number > n.acked && e.reserved != 0 && n.epochOf(&e) != n.epoch
	})
}

func (w *world) closeEpochs(n *simNode) {
	n.old = false
	s, _ := w.f.Node(n.id)
	for _, o := range s.Old {
		if !o.Closed {
			w.must(w.applyAll(n.actor(), fsm.CloseEpoch{Node: n.id, Epoch: o.Epoch, Whole: !n.torn[o.Epoch], By: n.epoch}))
			w.say("%s closes epoch %d, whole %v", n.id, o.Epoch, !n.torn[o.Epoch])
		}
	}
}

// kill ends the process without a last word. The provider bills some of what is open; a power
// cut takes the records that are not synced.
func (w *world) kill(n *simNode, power bool) {
	if !n.up {
		return
	}
	for _, q := range n.open {
		share := w.r.Int64N(101)
		bill := resource.Money(int64(q.dollars) * share / 100)
		w.billed += bill
		for _, c := range q.held {
			s := w.at[place{c.Account, c.Start}]
			s.open -= c.Amount
			s.spent += resource.Money(int64(c.Amount) * share / 100)
		}
		i := slices.IndexFunc(n.journal, func(e entry) bool { return e.number == q.number })
		n.journal[i].billed = bill
	}
	n.up, n.open, n.pending = false, nil, nil
	w.say("%s is killed, power cut %v", n.id, power)
	if power {
		w.tear(n)
	}
}

// tear cuts the journal behind what is synced.
func (w *world) tear(n *simNode) {
	kept := n.journal[:0:0]
	var cut []entry
	for _, e := range n.journal {
		if e.number <= n.synced {
			kept = append(kept, e)
		} else {
			cut = append(cut, e)
		}
	}
	if len(cut) == 0 {
		return
	}
	for _, e := range cut {
		open := slices.ContainsFunc(kept, func(r entry) bool { return r.number == e.reserved })
		if !open { // a reservation that is left is charged whole
			w.lost += e.billed
		} else {
			w.lost += max(0, e.billed-e.cost) + max(0, e.billed)
		}
	}
	for p, epoch := range maps.All(n.epochs) {
		if slices.ContainsFunc(cut, func(e entry) bool { return e.process == p }) {
			n.torn[epoch] = true
		}
	}
	n.torn[n.epoch] = true
	n.journal = kept
	n.number += 100 // numbers of lost records are not used again
}

// reserve sends a request to a node.
func (w *world) reserve(n *simNode, most resource.Money) bool {
	if !n.up || n.who == nil || n.who.Key == nil {
		return false
	}
	h, err := n.b.Reserve(context.Background(), w.request(n, most))
	return w.admit(n, most, h, err)
}

func (w *world) request(n *simNode, most resource.Money) budget.Request {
	return budget.Request{
		Levels: n.who.Levels(nil), Catalog: w.cat, Model: "demo", Most: budget.Amounts{Cost: most, Tokens: int64(most)},
	}
}

// admit takes in what a node answered.
func (w *world) admit(n *simNode, most resource.Money, h *budget.Hold, err error) bool {
	if err != nil {
		w.refused++
		w.say("%s refuses %d: %v", n.id, most, err)
		return false
	}
	w.admitted++
	q := &request{hold: h, held: chargesOf(h.Holds()), dollars: most}
	q.number = n.write(entry{charges: q.held, cost: most, day: w.day()})
	n.open = append(n.open, q)
	w.say("%s admits %d: %v", n.id, most, q.held)
	for _, c := range q.held {
		p := place{c.Account, c.Start}
		s := w.at[p]
		if s == nil {
			s = &standing{}
			w.at[p] = s
		}
		s.open += c.Amount
		ended := w.raised != 0 && resource.At(w.now) >= w.raised+resource.Time(maxSkew)
		if !ended {
			s.peak = s.spent + s.open
		}
		limit := w.base[c.Account]
		if w.overdraft > 0 || w.share { // which may be used on top of what the increase was
			limit = max(limit, s.peak)
		}
		if b := w.bound(limit, s); ended && s.spent+s.open > b {
			w.failf("%s admits %d after the increase: spent %d, open %d of %s, bound %d", n.id, most, s.spent, s.open, c.Account, b)
		}
	}
	return true
}

func (w *world) day() int32 { return int32(w.now.Unix() / 86400) }

// settle ends the oldest request of a node.
func (w *world) settle(n *simNode) {
	if len(n.open) == 0 {
		return
	}
	q := n.open[0]
	n.open = n.open[1:]
	cost := q.dollars
	if w.chance(2) {
		cost = resource.Money(w.r.Int64N(int64(q.dollars) + 1))
	}
	if w.chance(12) {
		cost = q.dollars + resource.Money(w.r.IntN(10))
	}
	charges := chargesOf(q.hold.Settle(budget.Amounts{Cost: cost, Tokens: int64(cost)}))
	q.hold.Release()
	for _, c := range q.held {
		w.at[place{c.Account, c.Start}].open -= c.Amount
	}
	for _, c := range charges {
		s := w.at[place{c.Account, c.Start}]
		s.spent += c.Amount
		s.overruns += max(0, cost-q.dollars)
	}
	w.billed += cost
	n.write(entry{reserved: q.number, charges: charges, cost: cost, billed: cost, day: w.day()})
	w.say("%s settles %d", n.id, cost)
}

// book is what some journal records come to.
type book struct {
	cost     resource.Money
	requests int64
	charges  map[place]resource.Money
}

// books sums up the journals: what the state has of them, and what it has not, open
// reservations with their holds.
func (w *world) books() (in, out book) {
	in.charges = map[place]resource.Money{}
	for _, n := range append(slices.Clone(w.nodes), w.gone...) {
		s, _ := w.f.Node(n.id)
		to := s.Covered
		settled := map[uint64]bool{}
		for _, e := range n.journal {
			settled[e.reserved] = true
		}
		for _, e := range n.journal {
			switch {
			case e.reserved == 0 && settled[e.number]:
			case e.reserved != 0 && e.number <= to:
				in.cost += e.cost
				in.requests++
				for _, c := range e.charges {
					in.charges[place{c.Account, c.Start}] += c.Amount
				}
			default:
				out.cost += e.cost
			}
		}
	}
	return in, out
}
