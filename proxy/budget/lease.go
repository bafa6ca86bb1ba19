package budget

import (
	"slices"
	"time"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/tick"
	"github.com/conclave-llm/conclave/resource"
)

// Lease is what the replicated state has granted this node of one window of one account.
type Lease struct {
	Account   resource.AccountID
	Window    resource.Window
	Epoch     uint64         // of the node; leases of another epoch are void
	Granted   resource.Money // in all, less what was released
	Settled   resource.Money // of the epoch, as ticks told it
	Limit     resource.Money
	Overdraft resource.Money // that this node may still use in the epoch
	Beyond    resource.Money // what the node's earlier epochs have spent beyond their leases
	Headroom  resource.Money // of the whole window: what is neither spent nor leased
	Recall    bool           // others want and there is none left: give back what is idle
	Raise     resource.Money // part of the limit, and of what came of it, that ends
	Until     resource.Time  // when; 0: there is none
	Lapsed    resource.Money // part of Granted that has ended and must be given back
}

// release is money that was given back and whose tick was applied at the index.
type release struct {
	index uint64
	of    []ledger.AccountCharge
}

// SetEpoch says that the epoch of this process is in the journal, and its leases count from
// now on. The caller then passes all of them to Leases.
func (b *Budgets) SetEpoch(epoch uint64) { b.epoch.Store(epoch) }

// Void voids all leases and forgets what was consumed: the node is about to take a new
// epoch, and what was consumed before belongs to the old one. Without an epoch it changes
// nothing, so that trying again does not open the overdrafts again.
func (b *Budgets) Void() {
	if b.epoch.Swap(0) == 0 {
		return
	}
	b.releaseMu.Lock()
	b.releases = nil
	b.releaseMu.Unlock()
	b.each(func(a *account) {
		for _, w := range a.windows {
			w.known, w.granted, w.releasing, w.consumed, w.counted = false, 0, 0, 0, 0
			w.lapsed, w.owed = 0, 0
			w.signal()
		}
	})
}

// Drain makes the next Demand give all idle lease back, and Want nothing.
func (b *Budgets) Drain() { b.drain.Store(true) }

// each calls f for each account, with its lock held.
func (b *Budgets) each(f func(a *account)) {
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.RLock()
		all := make([]*account, 0, len(s.accounts))
		for _, a := range s.accounts {
			all = append(all, a)
		}
		s.mu.RUnlock()
		for _, a := range all {
			a.mu.Lock()
			f(a)
			a.mu.Unlock()
		}
	}
}

// Leases tells what this node's leases are in the replicated state after the index. It is
// called for every index that this node applies, also without leases, in order.
func (b *Budgets) Leases(index uint64, leases []Lease) {
	for i := range leases {
		if l := &leases[i]; b.current(l.Epoch) {
			b.lease(l)
		}
	}
	b.releaseMu.Lock()
	defer b.releaseMu.Unlock()
	b.fed = max(b.fed, index)
	b.releasedLocked()
}

func (b *Budgets) current(epoch uint64) bool { return epoch != 0 && epoch == b.epoch.Load() }

func (b *Budgets) lease(l *Lease) {
	kind, id, name, ok := l.Account.Split()
	if !ok {
		b.cfg.Logger.Error("lease of an account without a name", "account", l.Account)
		return
	}
	r := ref{kind, id, name}
	if b.cfg.Lookup != nil && !l.Recall && l.Lapsed == 0 && !b.has(r) {
		return // Lookup finds it when it is needed
	}
	a := b.account(r)
	a.mu.Lock()
	if b.current(l.Epoch) { // Void changes the epoch before it takes the lock
		w, _ := a.span(l.Window)
		w.take(l)
	}
	activate := (l.Recall || l.Lapsed > 0) && !a.active
	a.mu.Unlock()
	if activate {
		b.activate(a)
	}
}

func (b *Budgets) has(r ref) bool {
	s := b.shard(r)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.accounts[r] != nil
}

// refreshLocked looks up the overdraft again, which grows without a word when an old epoch
// of the node is closed, and says whether it did. The other fields come in order, with
// Leases alone.
func (b *Budgets) refreshLocked(w *window, t *resource.Terms) bool {
	if b.cfg.Lookup == nil || !w.known || (w.overdraft >= t.Over() && w.beyond == 0) {
		return false
	}
	l, ok := b.cfg.Lookup(w.account.id, w.span.Start)
	if ok = ok && b.current(l.Epoch) && l.Beyond < w.beyond; ok {
		w.overdraft, w.beyond = l.Overdraft, l.Beyond
	}
	return ok
}

// Acked tells that a tick was applied. What it released is out of the leases as soon as
// Leases has told of the index at which it was applied.
func (b *Budgets) Acked(t tick.Tick, a tick.Ack) {
	if len(t.Release) == 0 || t.Epoch != b.epoch.Load() {
		return
	}
	b.releaseMu.Lock()
	defer b.releaseMu.Unlock()
	b.releases = append(b.releases, release{a.Index, t.Release})
	b.releasedLocked()
}

func (b *Budgets) releasedLocked() {
	b.releases = slices.DeleteFunc(b.releases, func(r release) bool {
		if r.index > b.fed {
			return false
		}
		for _, c := range r.of {
			b.released(c)
		}
		return true
	})
}

func (b *Budgets) released(c ledger.AccountCharge) {
	kind, id, name, _ := c.Account.Split()
	a := b.account(ref{kind, id, name})
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.windows {
		if w.span.Start == c.Start {
			w.releasing = max(0, w.releasing-c.Amount)
			w.signal()
		}
	}
}

// Demand returns what the node wants of its leases and what it gives back, for the next
// tick. What is given back is out of the balance before Demand returns.
func (b *Budgets) Demand() (wants []tick.Want, releases []ledger.AccountCharge) {
	if b.epoch.Load() == 0 {
		return nil, nil
	}
	if b.drain.Load() {
		return nil, b.releaseAll()
	}
	now, nodes := b.cfg.Now(), b.cfg.Nodes()
	var gone []ref
	b.activeMu.Lock()
	defer b.activeMu.Unlock()
	b.active = slices.DeleteFunc(b.active, func(a *account) bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		w, r := b.demandLocked(a, now, nodes)
		wants, releases = append(wants, w...), append(releases, r...)
		if a.active = !a.idleSince(now.Add(-demandSpan - rateSpan)); a.active || !resource.IsSession(a.ref.name) {
			return !a.active
		}
		releases = append(releases, a.yieldLocked()...)
		a.gone = b.settledLocked(a)
		a.active = !a.gone
		if a.gone {
			gone = append(gone, a.ref)
		}
		return a.gone
	})
	for _, r := range gone {
		b.forget(r)
	}
	ledger.SortCharges(releases)
	return wants, releases
}

func (b *Budgets) demandLocked(a *account, now time.Time, nodes int) (wants []tick.Want, releases []ledger.AccountCharge) {
	at := resource.At(now)
	for _, w := range a.windows {
		if !w.span.Contains(at) {
			continue
		}
		want, release := w.demand(now, nodes)
		if want.Amount > 0 || want.Refused > 0 {
			wants = append(wants, want)
		}
		if release > 0 {
			releases = append(releases, ledger.AccountCharge{Account: a.id, Start: w.span.Start, Amount: release})
		}
		if end := w.span.End; end != 0 && end-at <= resource.Time(openAhead) && now.Sub(w.used) <= rateSpan {
			if next, ok := b.nextLocked(a, w, now, nodes); ok {
				wants = append(wants, next)
			}
			break // nextLocked may have added a window
		}
	}
	return wants, releases
}

// nextLocked wants lease of the window after w.
func (b *Budgets) nextLocked(a *account, w *window, now time.Time, nodes int) (tick.Want, bool) {
	span, err := a.terms.Window(w.span.End.Std())
	if err != nil {
		return tick.Want{}, false
	}
	next := b.spanLocked(a, span)
	if next.known || now.Sub(next.wanted) < wantEvery {
		return tick.Want{}, false
	}
	next.limit, next.overdraft, next.wanted = w.limit, w.overdraft, now
	return next.want(max(1, w.target(now, nodes)), 0), true
}

// idleSince says that nothing has happened to the account after the time.
func (a *account) idleSince(at time.Time) bool {
	for _, w := range a.windows {
		if w.used.After(at) || w.waiting > 0 || w.reserved > 0 {
			return false
		}
	}
	return true
}

// settledLocked says that the replicated state knows all that the account's windows know, so
// that they may be forgotten and looked up again.
func (b *Budgets) settledLocked(a *account) bool {
	if b.cfg.Lookup == nil {
		return false
	}
	for _, w := range a.windows {
		if !b.toldLocked(w) {
			return false
		}
	}
	return true
}

// toldLocked says that the replicated state knows all that the window knows, or nothing of the window.
func (b *Budgets) toldLocked(w *window) bool {
	if b.cfg.Lookup == nil {
		return true
	}
	l, ok := b.cfg.Lookup(w.account.id, w.span.Start)
	return w.releasing == 0 && (!ok || (b.current(l.Epoch) && l.Settled == w.consumed))
}

// forget drops an account that is marked as gone: sessions come and go.
func (b *Budgets) forget(r ref) {
	s := b.shard(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.accounts, r)
}

// yieldLocked gives back all that no request holds.
func (a *account) yieldLocked() (releases []ledger.AccountCharge) {
	for _, w := range a.windows {
		left := max(0, w.balance())
		w.releasing += left
		left += w.owed
		w.owed = 0
		if left > 0 {
			releases = append(releases, ledger.AccountCharge{Account: a.id, Start: w.span.Start, Amount: left})
		}
	}
	return releases
}

func (b *Budgets) releaseAll() (releases []ledger.AccountCharge) {
	b.each(func(a *account) { releases = append(releases, a.yieldLocked()...) })
	ledger.SortCharges(releases)
	return releases
}
