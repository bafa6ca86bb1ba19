package fsm

import (
	"bytes"
	"slices"

	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/fsm/overlay"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/alert"
)

// Apply implements Command. A tick that is not the next one of its node's epoch, or does not begin where what the state has
// of the node's journal ends, changes nothing: the node sees in its state which is expected. The others of the group count.
func (c TickGroup) Apply(tx *Tx) error {
	spent := money.Spending{}
	pending, names := tx.pendingErasures(), tx.names()
	for i := range c.Ticks {
		tx.tick(&c.Ticks[i], spent, pending, names)
	}
	names.keep()
	tx.addSpending(spent)
	tx.sweep()
	return nil
}

func (tx *Tx) tick(t *Tick, spent money.Spending, pending []*resource.Erasure, names *names) {
	n, ok := tx.node(t.Node)
	if !ok || n.Removed || t.Epoch != n.Epoch || t.Seq != n.Seq+1 || t.From != n.Covered() {
		return
	}
	n.Seq, n.At, n.Applied, n.Clock = t.Seq, tx.Now, t.Applied, t.Clock
	if len(t.Hash) == 16 {
		n.Hash = slices.Clone(t.Hash)
	}
	settleAs := t.Epoch
	if t.OldEpoch != 0 {
		settleAs = t.OldEpoch
	}
	n.To = max(n.To, t.To) // also for a closed epoch: its records must not be sent again
	if o := n.OldEpoch(t.OldEpoch); o != nil {
		o.To = max(o.To, t.To)
	}
	tx.putNode(t.Node, n)
	for i := range t.Spend {
		d := t.Spend[i]
		tx.forget(pending, t.Node, &d)
		names.name(&d)
		spent.Fold(&d)
	}
	for _, w := range t.Want {
		tx.openWindow(w.Account, w.Window) // before what may have been spent of it by overdraft
	}
	for _, d := range t.Settle {
		tx.settle(n, settleAs, d)
	}
	for _, d := range t.Release {
		tx.release(n, d)
	}
	for _, w := range t.Want {
		tx.want(n, w)
	}
}

// settle charges consumption to the window that admitted it. A window that is gone has no
// budget left to enforce; the totals have the spend all the same. The amount is negative
// where adjustments lowered a cost.
func (tx *Tx) settle(n *money.Node, epoch uint64, d AccountDelta) {
	key := money.Key(d.Account, d.Start)
	a, ok := tx.account(key)
	if !ok || d.Amount == 0 {
		return
	}
	before := alert.Percent(a.Settled, a.Limit)
	if a.Settle(n, epoch, d.Amount) {
		tx.softPassed(d.Account, d.Start, a)
	}
	tx.warn(d.Account, d.Start, a, before)
	if money.IsSession(key) {
		a.End = tx.Now + resource.SessionIdle
	}
	tx.putAccount(key, a)
}

// release takes back lease that the node has subtracted from its own view already.
func (tx *Tx) release(n *money.Node, d AccountDelta) {
	key := money.Key(d.Account, d.Start)
	a, ok := tx.account(key)
	if !ok || d.Amount <= 0 {
		return
	}
	a.Release(n, d.Amount, tx.allNodes())
	tx.putAccount(key, a)
}

// want grants lease, and opens the window if nobody has.
func (tx *Tx) want(n *money.Node, w Want) {
	key := money.Key(w.Account, w.Window.Start)
	a, ok := tx.openWindow(w.Account, w.Window)
	if !ok || a.Ended(tx.Now) {
		return
	}
	if w.Refused > 0 {
		tx.exhausted(w.Account, w.Window.Start, a, w.Refused)
	}
	if w.Amount <= 0 {
		return
	}
	if money.Followed(key) { // its limits may have changed, and no command brings that here
		t, ok := tx.terms(w.Account)
		if !ok {
			return
		}
		a.Adjust(&t, tx.Now, tx.allNodes())
		if money.IsSession(key) {
			a.End = tx.Now + resource.SessionIdle
		}
	}
	a.Grant(n, w.Amount, w.Need, tx.allNodes(), tx.b.pos.Generation)
	tx.putAccount(key, a)
}

// addSpending writes the sums. The overlay has no order, so theirs does not matter.
func (tx *Tx) addSpending(s money.Spending) {
	for key, t := range s {
		tx.addTotals([]byte(key), t)
	}
}

func (tx *Tx) addTotals(key []byte, more money.Totals) {
	var t money.Totals
	if f, ok := tx.get(store.Totals, key); ok {
		var err error
		if t, err = money.ParseTotals(f.Payload); err != nil {
			overlay.Fail(err)
		}
	} else if day, ok := money.Day(key); ok && day < money.OldestDay(tx.Now) {
		return // its rows are gone: it would come back with a part of the sum
	}
	tx.put(store.Totals, key, t.Plus(more).Encode())
}

// sweepEvery and sweepRows say how fast old rows are looked for: once a second, so many.
const (
	sweepEvery resource.Time = 1e9
	sweepRows  int           = 256
)

// sweep deletes what is too old: totals of days, sessions that nobody uses, and ended windows of end users without budgets of their own. It looks at
// the next rows of each bucket, behind those of the last time, and starts anew at the end, so
// that it costs the same whatever there is.
func (tx *Tx) sweep() {
	at := money.Sweep{}
	if f, ok := tx.get(store.Cluster, memory.SweepKey); ok {
		var err error
		if at, err = money.ParseSweep(f.Payload); err != nil {
			overlay.Fail(err)
		}
	}
	if tx.Now < at.At+sweepEvery {
		return
	}
	oldest := money.OldestDay(tx.Now)
	at.At = tx.Now
	tx.endIncreases()
	at.Totals = tx.sweepBucket(store.Totals, at.Totals, func(key []byte) bool {
		day, ok := money.Day(key)
		return ok && day < oldest
	})
	at.Accounts = tx.sweepBucket(store.Accounts, at.Accounts, func(key []byte) bool {
		if !money.Followed(key) {
			return false
		}
		a, ok := tx.account(key)
		return ok && a.Ended(tx.Now)
	})
	tx.put(store.Cluster, memory.SweepKey, at.Encode())
}

// sweepBucket deletes the rows that are old among the next ones behind the key, and returns
// the last that it looked at, nil after the last of all.
func (tx *Tx) sweepBucket(b store.Bucket, behind []byte, old func(key []byte) bool) []byte {
	c := tx.b.base.Bucket(b).Cursor()
	k, _ := c.Seek(behind)
	if k != nil && bytes.Equal(k, behind) {
		k, _ = c.Next()
	}
	var last []byte
	for n := 0; k != nil && n < sweepRows; n++ {
		last = bytes.Clone(k)
		if old(last) {
			tx.delete(b, last)
		}
		k, _ = c.Next()
	}
	if k == nil {
		return nil
	}
	return last
}
