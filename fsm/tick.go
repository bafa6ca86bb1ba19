package fsm

import (
	"slices"

	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/fsm/store"
)

// Apply implements Command. A tick that is not the next one of its node's epoch changes
// nothing: the node sees in its state which is expected. The others of the group count.
func (c TickGroup) Apply(tx *Tx) error {
	for i := range c.Ticks {
		tx.tick(&c.Ticks[i])
	}
	return nil
}

func (tx *Tx) tick(t *Tick) {
	n, ok := tx.node(t.Node)
	if !ok || n.Removed || t.Epoch != n.Epoch || t.Seq != n.Seq+1 {
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
	for _, d := range t.Spend {
		tx.fold(d)
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
// budget left to enforce; the totals have the spend all the same.
func (tx *Tx) settle(n *money.Node, epoch uint64, d AccountDelta) {
	key := money.Key(d.Account, d.Start)
	a, ok := tx.account(key)
	if !ok || d.Amount <= 0 {
		return
	}
	a.Settle(n, epoch, d.Amount)
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
	if !ok || w.Amount <= 0 || a.Ended(tx.Now) {
		return
	}
	a.Grant(n, w.Amount, w.Need, tx.allNodes(), tx.b.pos.Generation)
	tx.putAccount(key, a)
}

// fold adds a delta to the totals of its key, team, model and of all, and to their day's.
func (tx *Tx) fold(d SpendDelta) {
	for _, of := range []struct{ kind, id string }{
		{"key", d.KeyID}, {"team", d.TeamID}, {"model", d.Model}, {"total", ""},
	} {
		if of.id == "" && of.kind != "total" {
			continue
		}
		tx.addTotals(money.TotalsKey(of.kind, of.id), d)
		tx.addTotals(money.DayKey(of.kind, of.id, d.Day), d)
	}
}

func (tx *Tx) addTotals(key []byte, d SpendDelta) {
	var t Totals
	if f, ok := tx.get(store.Totals, key); ok {
		var err error
		if t, err = money.ParseTotals(f.Payload); err != nil {
			fail(err)
		}
	}
	t = t.Plus(Totals{Cost: d.Cost, Requests: d.Requests, Failures: d.Failures, Prompt: d.Prompt, Completion: d.Completion})
	tx.put(store.Totals, key, t.Encode())
}
