package fsm

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
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
	if !ok || n.removed || t.Epoch != n.epoch || t.Seq != n.seq+1 {
		return
	}
	n.seq, n.at, n.applied, n.clock = t.Seq, tx.Now, t.Applied, t.Clock
	if len(t.Hash) == 16 {
		n.hash = slices.Clone(t.Hash)
	}
	settleAs := t.Epoch
	if t.OldEpoch != 0 {
		settleAs = t.OldEpoch
	}
	n.to = max(n.to, t.To) // also for a closed epoch: its records must not be sent again
	if i := slices.IndexFunc(n.old, func(o oldEpoch) bool { return o.epoch == t.OldEpoch }); i >= 0 {
		n.old[i].to = max(n.old[i].to, t.To)
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
func (tx *Tx) settle(n *nodeState, epoch uint64, d AccountDelta) {
	key := accountKey(d.Account, d.Start)
	a, ok := tx.account(key)
	if !ok || d.Amount <= 0 {
		return
	}
	a.settled = add(a.settled, d.Amount)
	if n.holding(epoch) != holdVoid {
		h := a.at(n.ordinal, epoch)
		h.consumed = add(h.consumed, d.Amount)
	}
	tx.putAccount(key, a)
}

// release takes back lease that the node has subtracted from its own view already.
func (tx *Tx) release(n *nodeState, d AccountDelta) {
	key := accountKey(d.Account, d.Start)
	a, ok := tx.account(key)
	if !ok || d.Amount <= 0 {
		return
	}
	h := a.at(n.ordinal, n.epoch)
	h.granted -= min(d.Amount, h.outstanding())
	if tx.headroom(a) > 0 {
		a.recall = false
	}
	tx.putAccount(key, a)
}

// want grants lease: at most a part of the headroom, so that no node empties a budget that
// others use, but all that the largest waiting request needs if the headroom holds it.
func (tx *Tx) want(n *nodeState, w Want) {
	key := accountKey(w.Account, w.Window.Start)
	a, ok := tx.openWindow(w.Account, w.Window)
	if !ok || w.Amount <= 0 || (a.end != 0 && a.end <= tx.Now) {
		return
	}
	room := tx.headroom(a)
	nodes := resource.Money(max(1, len(tx.active())))
	most := max(room/(grantShare*nodes), a.limit/(dustShare*nodes), w.Need)
	grant := max(0, min(w.Amount, most, room))
	if tx.frozen() {
		grant = 0
	}
	h := a.at(n.ordinal, n.epoch)
	h.granted = add(h.granted, grant)
	a.recall = room-grant <= 0 && grant < w.Amount
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
		tx.addTotals(totalsKey(of.kind, of.id), d)
		tx.addTotals(dayKey(of.kind, of.id, d.Day), d)
	}
}

func (tx *Tx) addTotals(key []byte, d SpendDelta) {
	var t Totals
	if f, ok := tx.get(store.Totals, key); ok {
		var err error
		if t, err = parseTotals(f.Payload); err != nil {
			fail(err)
		}
	}
	t.Cost = add(t.Cost, d.Cost)
	t.Requests += d.Requests
	t.Failures += d.Failures
	t.Prompt += d.Prompt
	t.Completion += d.Completion
	tx.put(store.Totals, key, t.append())
}

const totalsSize = 5 * 8

// totalsKey is "kind/id", NUL; dayKey adds the day, so that a holder's days are one range.
func totalsKey(kind, id string) []byte { return []byte(kind + "/" + id + "\x00") }

func dayKey(kind, id string, day int32) []byte {
	return binary.BigEndian.AppendUint32(totalsKey(kind, id), uint32(day)^1<<31)
}

func (t Totals) append() []byte {
	b := make([]byte, 0, totalsSize)
	for _, v := range []int64{int64(t.Cost), t.Requests, t.Failures, t.Prompt, t.Completion} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return b
}

func parseTotals(b []byte) (Totals, error) {
	if len(b) != totalsSize {
		return Totals{}, fmt.Errorf("totals of %d bytes, want %d: %w", len(b), totalsSize, frame.ErrDamaged)
	}
	u := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[8*i:])) }
	return Totals{Cost: resource.Money(u(0)), Requests: u(1), Failures: u(2), Prompt: u(3), Completion: u(4)}, nil
}
