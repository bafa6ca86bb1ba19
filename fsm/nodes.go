package fsm

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// nodeState is what the money rules know of one member. Its rows are never deleted: the
// ordinal stands in the accounts.
type nodeState struct {
	ordinal    uint16 // short name in the accounts; from 1, never reused
	removed    bool
	epoch      uint64 // of the running process; 0: none has started yet
	seq        uint64 // of the epoch's last tick
	to         uint64 // last journal record that the epoch's ticks covered
	at         resource.Time
	applied    uint64 // as the last tick told
	clock      resource.Time
	generation uint64 // the node has replayed its journal in; below the state's: nothing is granted
	hash       []byte // nil or 16 bytes
	old        []oldEpoch
}

// oldEpoch is an epoch whose holdings are presumed spent.
type oldEpoch struct {
	epoch uint64
	to    uint64 // last journal record covered
	ended uint64 // Raft index at which the next epoch was opened or the node removed
	kept  bool   // closed with a journal that was not whole: stays until its windows end
}

const (
	nodeFixed    = 2 + 1 + 7*8 + 16 + 2
	oldEpochSize = 3*8 + 1
)

// retire moves the running epoch to the old ones, at an index.
func (n *nodeState) retire(index uint64) {
	if n.epoch != 0 && !slices.ContainsFunc(n.old, func(o oldEpoch) bool { return o.epoch == n.epoch }) {
		n.old = append(n.old, oldEpoch{epoch: n.epoch, to: n.to, ended: index})
	}
}

// replaying says that an old epoch has not been closed.
func (n *nodeState) replaying() bool {
	return slices.ContainsFunc(n.old, func(o oldEpoch) bool { return !o.kept })
}

// holding is what an amount granted to an epoch is.
type holding uint8

const (
	holdVoid     holding = iota // dropped: the epoch was closed with a whole journal
	holdLive                    // of the running epoch
	holdPresumed                // of an old one: presumed spent
)

func (n *nodeState) holding(epoch uint64) holding {
	if n.epoch == epoch && !n.removed {
		return holdLive
	}
	if slices.ContainsFunc(n.old, func(o oldEpoch) bool { return o.epoch == epoch }) {
		return holdPresumed
	}
	return holdVoid
}

func (n *nodeState) append() []byte {
	b := make([]byte, nodeFixed, nodeFixed+len(n.old)*oldEpochSize)
	binary.BigEndian.PutUint16(b, n.ordinal)
	if n.removed {
		b[2] = 1
	}
	for i, v := range []uint64{n.epoch, n.seq, n.to, uint64(n.at), n.applied, uint64(n.clock), n.generation} {
		binary.BigEndian.PutUint64(b[3+8*i:], v)
	}
	copy(b[59:75], n.hash)
	binary.BigEndian.PutUint16(b[75:], uint16(len(n.old)))
	for _, o := range n.old {
		b = binary.BigEndian.AppendUint64(b, o.epoch)
		b = binary.BigEndian.AppendUint64(b, o.to)
		b = binary.BigEndian.AppendUint64(b, o.ended)
		kept := byte(0)
		if o.kept {
			kept = 1
		}
		b = append(b, kept)
	}
	return b
}

func parseNode(b []byte) (*nodeState, error) {
	if len(b) < nodeFixed || len(b) != nodeFixed+int(binary.BigEndian.Uint16(b[75:]))*oldEpochSize {
		return nil, fmt.Errorf("node of %d bytes: %w", len(b), frame.ErrDamaged)
	}
	u := func(i int) uint64 { return binary.BigEndian.Uint64(b[3+8*i:]) }
	n := &nodeState{
		ordinal: binary.BigEndian.Uint16(b), removed: b[2] == 1,
		epoch: u(0), seq: u(1), to: u(2), at: resource.Time(u(3)), applied: u(4),
		clock: resource.Time(u(5)), generation: u(6), hash: slices.Clone(b[59:75]),
	}
	for r := b[nodeFixed:]; len(r) > 0; r = r[oldEpochSize:] {
		n.old = append(n.old, oldEpoch{
			epoch: binary.BigEndian.Uint64(r), to: binary.BigEndian.Uint64(r[8:]),
			ended: binary.BigEndian.Uint64(r[16:]), kept: r[24] == 1,
		})
	}
	return n, nil
}

// allNodes returns every node that ever was, by id, read once for each command.
func (tx *Tx) allNodes() map[string]*nodeState {
	if tx.nodes != nil {
		return tx.nodes
	}
	tx.nodes = map[string]*nodeState{}
	for _, k := range tx.scan(store.Nodes, nil) {
		f, _ := tx.get(store.Nodes, k)
		n, err := parseNode(f.Payload)
		if err != nil {
			fail(err)
		}
		tx.nodes[string(k)] = n
	}
	return tx.nodes
}

func (tx *Tx) node(id string) (*nodeState, bool) {
	n, ok := tx.allNodes()[id]
	return n, ok
}

func (tx *Tx) putNode(id string, n *nodeState) {
	tx.allNodes()[id] = n
	tx.put(store.Nodes, []byte(id), n.append())
}

func (tx *Tx) nextOrdinal() uint16 {
	last := uint16(0)
	for _, n := range tx.allNodes() { // a maximum has no order
		last = max(last, n.ordinal)
	}
	return last + 1
}

// active lists the members that may hold leases, by ordinal.
func (tx *Tx) active() []*nodeState {
	var as []*nodeState
	for _, n := range tx.allNodes() { // sorted below
		if !n.removed {
			as = append(as, n)
		}
	}
	slices.SortFunc(as, func(a, b *nodeState) int { return int(a.ordinal) - int(b.ordinal) })
	return as
}

// frozen says that a member has not replayed its journal since the state was restored:
// what it spent meanwhile is not known, so nothing is granted.
func (tx *Tx) frozen() bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(tx.allNodes())), func(n *nodeState) bool {
		return !n.removed && n.epoch != 0 && n.generation < tx.b.pos.Generation
	})
}
