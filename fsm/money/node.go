package money

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/resource"
)

// Node is what the money rules know of one member. Its rows are never deleted: the ordinal
// stands in the accounts.
type Node struct {
	Ordinal    uint16 // short name in the accounts; from 1, never reused
	Removed    bool
	Epoch      uint64 // of the running process; 0: none has started yet
	Seq        uint64 // of the epoch's last tick
	To         uint64 // last journal record that the epoch's ticks covered
	At         resource.Time
	Applied    uint64 // as the last tick told
	Clock      resource.Time
	Generation uint64 // the node has replayed its journal in; below the state's: nothing is granted
	Hash       []byte // nil or 16 bytes
	Old        []OldEpoch
	Life       uint64 // which of the node's processes has opened Epoch, as it says itself; 0: it does not, or none has
}

// OldEpoch is an epoch whose holdings are presumed spent.
type OldEpoch struct {
	Epoch uint64
	To    uint64 // last journal record covered
	Ended uint64 // Raft index at which the next epoch was opened or the node removed
	Kept  bool   // closed with a journal that was not whole: stays until its windows end
}

// OldEpoch returns the old epoch with the number, nil if there is none.
func (n *Node) OldEpoch(epoch uint64) *OldEpoch {
	i := slices.IndexFunc(n.Old, func(o OldEpoch) bool { return o.Epoch == epoch })
	if i < 0 {
		return nil
	}
	return &n.Old[i]
}

// Retire moves the running epoch to the old ones, at an index.
func (n *Node) Retire(index uint64) {
	if n.Epoch != 0 && n.OldEpoch(n.Epoch) == nil {
		n.Old = append(n.Old, OldEpoch{Epoch: n.Epoch, To: n.To, Ended: index})
	}
}

// Start retires the running epoch and starts the next, of the process with the life, in a generation. The counter starts
// anew in each generation, above all that the generations before may have used.
func (n *Node) Start(index, generation, life uint64) {
	n.Retire(index)
	n.Epoch, n.Life = max(n.Epoch, generation<<32)+1, life
	n.Seq, n.To = 0, 0
	n.replayed(generation)
}

// Covered is the last journal record that any epoch's ticks brought into the state.
func (n *Node) Covered() uint64 {
	to := n.To
	for _, o := range n.Old {
		to = max(to, o.To)
	}
	return to
}

// Drop forgets an old epoch whose journal has been settled and was whole, but not what of it was covered.
func (n *Node) Drop(epoch, generation uint64) {
	n.To = n.Covered()
	n.Old = slices.DeleteFunc(n.Old, func(o OldEpoch) bool { return o.Epoch == epoch })
	n.replayed(generation)
}

// Keep marks an old epoch whose journal has been settled but was not whole.
func (n *Node) Keep(epoch, generation uint64) {
	if o := n.OldEpoch(epoch); o != nil {
		o.Kept = true
	}
	n.replayed(generation)
}

// replayed notes that no old epoch waits to be closed, if so.
func (n *Node) replayed(generation uint64) {
	if !slices.ContainsFunc(n.Old, func(o OldEpoch) bool { return !o.Kept }) {
		n.Generation = generation
	}
}

// Holding is what an amount granted to an epoch is.
type Holding uint8

// The holdings.
const (
	Void     Holding = iota // dropped: the epoch was closed with a whole journal
	Live                    // of the running epoch
	Presumed                // of an old one: presumed spent
)

// Holding says what an amount granted to the epoch is.
func (n *Node) Holding(epoch uint64) Holding {
	switch {
	case n.Epoch == epoch && !n.Removed:
		return Live
	case n.OldEpoch(epoch) != nil:
		return Presumed
	default:
		return Void
	}
}

// Nodes are all nodes that ever were, by id.
type Nodes map[string]*Node

func (ns Nodes) holding(h Hold) Holding {
	for _, n := range ns { // ordinals are unique
		if n.Ordinal == h.Node {
			return n.Holding(h.Epoch)
		}
	}
	return Void
}

// NextOrdinal is the ordinal for a new node.
func (ns Nodes) NextOrdinal() uint16 {
	last := uint16(0)
	for _, n := range ns { // a maximum has no order
		last = max(last, n.Ordinal)
	}
	return last + 1
}

// Active lists the members that may hold leases, by ordinal.
func (ns Nodes) Active() []*Node {
	var as []*Node
	for _, n := range ns { // sorted below
		if !n.Removed {
			as = append(as, n)
		}
	}
	slices.SortFunc(as, func(a, b *Node) int { return int(a.Ordinal) - int(b.Ordinal) })
	return as
}

// Frozen says that a member has not replayed its journal since the state was restored: what
// it spent meanwhile is not known, so nothing is granted.
func (ns Nodes) Frozen(generation uint64) bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(ns)), func(n *Node) bool {
		return !n.Removed && n.Epoch != 0 && n.Generation < generation
	})
}

const (
	nodeFixed    = 2 + 1 + 7*8 + 16 + 2
	oldEpochSize = 3*8 + 1
	lifeSize     = 8 // at the end, if there is one
)

// Encode gives the row's bytes.
func (n *Node) Encode() []byte {
	b := make([]byte, nodeFixed, nodeFixed+len(n.Old)*oldEpochSize)
	binary.BigEndian.PutUint16(b, n.Ordinal)
	if n.Removed {
		b[2] = 1
	}
	for i, v := range []uint64{n.Epoch, n.Seq, n.To, uint64(n.At), n.Applied, uint64(n.Clock), n.Generation} {
		binary.BigEndian.PutUint64(b[3+8*i:], v)
	}
	copy(b[59:75], n.Hash)
	binary.BigEndian.PutUint16(b[75:], uint16(len(n.Old)))
	for _, o := range n.Old {
		b = binary.BigEndian.AppendUint64(b, o.Epoch)
		b = binary.BigEndian.AppendUint64(b, o.To)
		b = binary.BigEndian.AppendUint64(b, o.Ended)
		kept := byte(0)
		if o.Kept {
			kept = 1
		}
		b = append(b, kept)
	}
	if n.Life != 0 {
		b = binary.BigEndian.AppendUint64(b, n.Life)
	}
	return b
}

// ParseNode reads what Encode gave.
func ParseNode(b []byte) (*Node, error) {
	damaged := fmt.Errorf("node of %d bytes: %w", len(b), frame.ErrDamaged)
	if len(b) < nodeFixed {
		return nil, damaged
	}
	life := nodeFixed + int(binary.BigEndian.Uint16(b[75:]))*oldEpochSize // where it begins
	if len(b) != life && len(b) != life+lifeSize {
		return nil, damaged
	}
	u := func(i int) uint64 { return binary.BigEndian.Uint64(b[3+8*i:]) }
	n := &Node{
		Ordinal: binary.BigEndian.Uint16(b), Removed: b[2] == 1,
		Epoch: u(0), Seq: u(1), To: u(2), At: resource.Time(u(3)), Applied: u(4),
		Clock: resource.Time(u(5)), Generation: u(6), Hash: slices.Clone(b[59:75]),
	}
	if len(b) > life {
		if n.Life = binary.BigEndian.Uint64(b[life:]); n.Life == 0 {
			return nil, damaged
		}
	}
	for r := b[nodeFixed:life]; len(r) > 0; r = r[oldEpochSize:] {
		n.Old = append(n.Old, OldEpoch{
			Epoch: binary.BigEndian.Uint64(r), To: binary.BigEndian.Uint64(r[8:]),
			Ended: binary.BigEndian.Uint64(r[16:]), Kept: r[24] == 1,
		})
	}
	return n, nil
}
