package money

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/resource"
)

const (
	openingShare = 4  // a new window leases limit / (4 × nodes) to each node
	grantShare   = 2  // a grant is at most headroom / (2 × nodes) …
	dustShare    = 64 // … but need not be below limit / (64 × nodes), else the last cents were never spent
)

// Account is one window of one account with all that was leased of it: one row, so that no
// sum can go out of step with its parts.
type Account struct {
	End       resource.Time // of the window; 0: it has none
	Limit     resource.Money
	Overdraft resource.Money
	Settled   resource.Money
	Opened    uint64 // Raft index at which the row was made
	Unit      resource.Unit
	Recall    bool   // headroom has ended and somebody wants
	Holds     []Hold // by node, then epoch

	Raise resource.Money // part of Limit that ends
	Until resource.Time  // when; 0: there is none
	Soft  resource.Money // alerts when it is passed; 0: none does
	Told  bool           // it has been passed
}

// Hold is what one epoch of one node was granted, net of releases, and has consumed.
type Hold struct {
	Node     uint16 // its ordinal
	Epoch    uint64
	Granted  resource.Money
	Consumed resource.Money
	Lapsed   resource.Money // part of what is outstanding that its node must give back
}

// Outstanding is what of the grant has not been consumed.
func (h Hold) Outstanding() resource.Money { return max(0, h.Granted-h.Consumed) }

// Open makes the row of a window that ends at end, at a time and a Raft index, and leases a
// part of it to each active node.
func Open(t *resource.Terms, end, now resource.Time, index uint64, nodes Nodes, generation uint64) *Account {
	a := &Account{End: end, Opened: index}
	a.set(t, now)
	active := nodes.Active()
	if nodes.Frozen(generation) || len(active) == 0 {
		return a
	}
	part := a.Limit / resource.Money(openingShare*len(active))
	for _, n := range active {
		if n.Epoch != 0 && part > 0 {
			a.hold(n.Ordinal, n.Epoch).Granted = part
		}
	}
	return a
}

// set takes over the terms as they are now.
func (a *Account) set(t *resource.Terms, now resource.Time) {
	a.Limit, a.Overdraft = t.Limit(now), t.Over()
	a.Raise, a.Until = t.Raise(now)
	a.Soft, a.Unit = t.SoftLimit(), t.Unit()
	a.Told = a.Soft > 0 && a.Settled >= a.Soft
}

// Lapse ends an increase of the limit whose time has come, and all leases with it: what came
// of the increase cannot be told from the rest. Their nodes give back what no open request
// holds, and are granted anew what is left of the limit.
func (a *Account) Lapse(now resource.Time) {
	if a.Until == 0 || now < a.Until {
		return
	}
	a.Limit -= a.Raise
	a.Raise, a.Until = 0, 0
	a.void()
}

// void makes all that is outstanding due back.
func (a *Account) void() {
	for i := range a.Holds {
		a.Holds[i].Lapsed = a.Holds[i].Outstanding()
	}
}

// hold finds or makes the hold of an epoch.
func (a *Account) hold(node uint16, epoch uint64) *Hold {
	i, ok := slices.BinarySearchFunc(a.Holds, Hold{Node: node, Epoch: epoch}, func(x, y Hold) int {
		return cmp.Or(cmp.Compare(x.Node, y.Node), cmp.Compare(x.Epoch, y.Epoch))
	})
	if !ok {
		a.Holds = slices.Insert(a.Holds, i, Hold{Node: node, Epoch: epoch})
	}
	return &a.Holds[i]
}

// Ended says that the window has ended.
func (a *Account) Ended(now resource.Time) bool { return a.End != 0 && a.End <= now }

// Sums are what an account's holds come to.
type Sums struct {
	Live     resource.Money // outstanding
	Presumed resource.Money // spent by epochs that are gone
}

// Sums adds the holds up.
func (a *Account) Sums(nodes Nodes) Sums {
	var s Sums
	for _, h := range a.Holds {
		switch nodes.holding(h) {
		case Live:
			s.Live = add(s.Live, h.Outstanding())
		case Presumed:
			s.Presumed = add(s.Presumed, h.Outstanding())
		case Void:
		}
	}
	return s
}

// Headroom is what of the limit is neither settled nor held.
func (a *Account) Headroom(nodes Nodes) resource.Money {
	s := a.Sums(nodes)
	return a.Limit - add(a.Settled, add(s.Live, s.Presumed))
}

// Tidy drops void holds. What an epoch went over its lease is kept, summed up under the
// epoch 0, so that a restart does not give a node its overdraft anew.
func (a *Account) Tidy(nodes Nodes) {
	var over []Hold
	a.Holds = slices.DeleteFunc(a.Holds, func(h Hold) bool {
		if h.Epoch == 0 || nodes.holding(h) != Void {
			return false
		}
		if h.Consumed > h.Granted {
			over = append(over, h)
		}
		return true
	})
	for _, h := range over {
		sum := a.hold(h.Node, 0)
		sum.Consumed = add(sum.Consumed, h.Consumed-h.Granted)
	}
}

// Adjust gives the window other terms; false if it has them. Where leases hold more than
// a lower limit has left, all of them end.
func (a *Account) Adjust(t *resource.Terms, now resource.Time, nodes Nodes) bool {
	was := *a
	a.set(t, now)
	if a.Limit == was.Limit && a.Overdraft == was.Overdraft && a.Raise == was.Raise && a.Until == was.Until && a.Soft == was.Soft {
		a.Told = was.Told
		return false
	}
	a.Told = a.Told && (was.Told || a.Soft == was.Soft)
	if a.Recall = a.Headroom(nodes) < 0; a.Recall && a.Limit < was.Limit {
		a.void()
	}
	return true
}

// Settle charges what an epoch of a node has consumed, and says whether that passed the soft
// limit, which it does once.
func (a *Account) Settle(n *Node, epoch uint64, amount resource.Money) (passed bool) {
	a.Settled = add(a.Settled, amount)
	if n.Holding(epoch) != Void {
		h := a.hold(n.Ordinal, epoch)
		h.Consumed = add(h.Consumed, amount)
		h.Lapsed = min(h.Lapsed, h.Outstanding())
	}
	passed = a.Soft > 0 && !a.Told && a.Settled >= a.Soft
	a.Told = a.Told || passed
	return passed
}

// Release takes back lease that the node has subtracted from its own view already.
func (a *Account) Release(n *Node, amount resource.Money, nodes Nodes) {
	h := a.hold(n.Ordinal, n.Epoch)
	amount = min(amount, h.Outstanding())
	h.Granted -= amount
	h.Lapsed = max(0, h.Lapsed-amount)
	if a.Headroom(nodes) > 0 {
		a.Recall = false
	}
}

// Grant leases more to a node that wants it: at most a part of the headroom, so that no node
// empties a budget that others use, but all of need, the largest waiting request, if the
// headroom holds it.
func (a *Account) Grant(n *Node, want, need resource.Money, nodes Nodes, generation uint64) {
	room := a.Headroom(nodes)
	active := resource.Money(max(1, len(nodes.Active())))
	most := max(room/(grantShare*active), a.Limit/(dustShare*active), need)
	grant := max(0, min(want, most, room))
	if nodes.Frozen(generation) {
		grant = 0
	}
	h := a.hold(n.Ordinal, n.Epoch)
	h.Granted = add(h.Granted, grant)
	a.Recall = room-grant <= 0 && grant < want
}

// beyond is what earlier epochs of a node have spent beyond their leases, and all that there
// is while a journal of its waits to be settled, or where it was not whole and may have been
// spent since the window was opened. A restart gives none of it anew.
func (a *Account) beyond(n *Node) resource.Money {
	lost := slices.ContainsFunc(n.Old, func(o OldEpoch) bool { return !o.Kept || o.Ended > a.Opened })
	if lost || n.Removed {
		return math.MaxInt64
	}
	var used resource.Money
	for _, h := range a.Holds {
		if h.Node == n.Ordinal && h.Epoch != n.Epoch {
			used = add(used, max(0, h.Consumed-h.Granted))
		}
	}
	return used
}

// add is a sum that stays at the ends of its range: no total turns over.
func add(a, b resource.Money) resource.Money {
	switch {
	case b > 0 && a > math.MaxInt64-b:
		return math.MaxInt64
	case b < 0 && a < math.MinInt64-b:
		return math.MinInt64
	}
	return a + b
}

// The bits of an account's flags.
const (
	flagRecall = 1 << iota
	flagWide   // the wide layout: raise, until, soft behind the fixed part, and lapsed in each hold
	flagTold

	unitShift = 3 // two bits: the place of the unit in units
	unitBits  = 3
)

var units = [...]resource.Unit{resource.UnitUSD, resource.UnitTokens, resource.UnitRequests, resource.UnitGPUSeconds}

const (
	accountFixed = 5*8 + 1 + 2
	accountWide  = 3 * 8
	holdSize     = 2 + 3*8
	holdWide     = holdSize + 8
)

// wide says whether the row needs the wide layout.
func (a *Account) wide() bool {
	return a.Until != 0 || a.Soft != 0 || slices.ContainsFunc(a.Holds, func(h Hold) bool { return h.Lapsed != 0 })
}

func (a *Account) flags() byte {
	f := byte(max(0, slices.Index(units[:], a.Unit))) << unitShift
	for _, b := range []struct {
		is  bool
		bit byte
	}{{a.Recall, flagRecall}, {a.wide(), flagWide}, {a.Told, flagTold}} {
		if b.is {
			f |= b.bit
		}
	}
	return f
}

// Encode gives the row's bytes.
func (a *Account) Encode() []byte {
	b := make([]byte, accountFixed, accountFixed+accountWide+len(a.Holds)*holdWide)
	for i, v := range []int64{int64(a.End), int64(a.Limit), int64(a.Overdraft), int64(a.Settled), int64(a.Opened)} {
		binary.BigEndian.PutUint64(b[8*i:], uint64(v))
	}
	b[40] = a.flags()
	wide := b[40]&flagWide != 0
	binary.BigEndian.PutUint16(b[41:], uint16(len(a.Holds)))
	if wide {
		for _, v := range []int64{int64(a.Raise), int64(a.Until), int64(a.Soft)} {
			b = binary.BigEndian.AppendUint64(b, uint64(v))
		}
	}
	for _, h := range a.Holds {
		b = binary.BigEndian.AppendUint16(b, h.Node)
		b = binary.BigEndian.AppendUint64(b, h.Epoch)
		b = binary.BigEndian.AppendUint64(b, uint64(h.Granted))
		b = binary.BigEndian.AppendUint64(b, uint64(h.Consumed))
		if wide {
			b = binary.BigEndian.AppendUint64(b, uint64(h.Lapsed))
		}
	}
	return b
}

// ParseAccount reads what Encode gave.
func ParseAccount(b []byte) (*Account, error) {
	if len(b) < accountFixed {
		return nil, fmt.Errorf("account of %d bytes: %w", len(b), frame.ErrDamaged)
	}
	fixed, size, wide := accountFixed, holdSize, b[40]&flagWide != 0
	if wide {
		fixed, size = accountFixed+accountWide, holdWide
	}
	if len(b) != fixed+int(binary.BigEndian.Uint16(b[41:]))*size {
		return nil, fmt.Errorf("account of %d bytes: %w", len(b), frame.ErrDamaged)
	}
	amount := func(at int) resource.Money { return resource.Money(binary.BigEndian.Uint64(b[at:])) }
	a := &Account{
		End: resource.Time(amount(0)), Limit: amount(8), Overdraft: amount(16), Settled: amount(24), Opened: uint64(amount(32)),
		Recall: b[40]&flagRecall != 0, Told: b[40]&flagTold != 0,
		Unit: units[b[40]>>unitShift&unitBits],
	}
	if wide {
		a.Raise, a.Until, a.Soft = amount(accountFixed), resource.Time(amount(accountFixed+8)), amount(accountFixed+16)
	}
	for at := fixed; at < len(b); at += size {
		h := Hold{
			Node: binary.BigEndian.Uint16(b[at:]), Epoch: uint64(amount(at + 2)), Granted: amount(at + 10), Consumed: amount(at + 18),
		}
		if wide {
			h.Lapsed = amount(at + 26)
		}
		a.Holds = append(a.Holds, h)
	}
	return a, nil
}
