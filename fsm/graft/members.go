package graft

import (
	"bytes"
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/fsm/relation"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// members makes the nodes of now the members; those that the backup alone knows are dead. Every
// epoch of a living node is over, and nothing is granted until the node has opened one in the new
// generation and told what it spent in those before.
func (g *graft) members() error {
	gone := map[string]*resource.Member{}
	err := each(g.edit.tx, store.Members, func(k []byte, v frame.Value) error {
		if store.Members.In(g.now).Get(k) != nil {
			return nil
		}
		m, err := codec.Record[resource.Member](v)
		gone[string(bytes.Clone(k))] = m
		return err
	})
	if err != nil {
		return err
	}
	if err := g.edit.replace(store.Members, g.now); err != nil {
		return err
	}
	if err := g.edit.replacePrefix(store.Names, relation.NameKey(store.Members, ""), g.now); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(gone)) {
		gone[id].Removed = true
		if err := g.edit.putRecord(store.Members, []byte(id), gone[id]); err != nil {
			return err
		}
	}
	return g.nodes()
}

// nodes are the rows of money. A row's ordinal stands in the backup's accounts, and so the
// backup's counts where it has one.
func (g *graft) nodes() error {
	rows, err := memory.ReadNodes(g.edit.tx)
	if err != nil {
		return err
	}
	now, err := memory.ReadNodes(g.now)
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		present := now[id]
		if present == nil {
			present = &money.Node{Removed: true}
		}
		rows[id].Removed = present.Removed
		g.renew(rows[id], present)
	}
	for _, id := range slices.Sorted(maps.Keys(now)) {
		if rows[id] == nil {
			rows[id] = g.newcomer(now[id], rows)
		}
	}
	return g.edit.putNodes(rows)
}

// renew ends the epochs of a row of the backup.
func (g *graft) renew(n, present *money.Node) {
	if g.asOfBackup {
		covered := max(n.Covered(), present.Covered())
		n.Old, n.Epoch = nil, max(n.Epoch, present.Epoch)
		g.edit.end(n)
		n.To = covered
		return
	}
	n.Retire(g.edit.index)
	n.Epoch = max(n.Epoch, present.Epoch)
	g.edit.end(n)
}

// newcomer is the row of a node that the backup does not know. All that it spent came after, unless
// the backup is another cluster's: what is spent so far then was that of records that are gone.
func (g *graft) newcomer(present *money.Node, rows money.Nodes) *money.Node {
	n := *present
	n.Old = nil
	for _, other := range rows {
		if other.Ordinal == n.Ordinal {
			n.Ordinal = rows.NextOrdinal()
			break
		}
	}
	g.edit.end(&n)
	if g.foreign || g.asOfBackup {
		n.To = present.Covered()
	}
	return &n
}

// end gives a living node an epoch that none of its processes has ever had, so that each opens
// one of its own.
func (e *editor) end(n *money.Node) {
	n.Epoch, n.Life = max(n.Epoch, e.pos.Generation<<32)+1, 0
	n.Seq, n.To = 0, 0
}

func (e *editor) putNodes(rows money.Nodes) error {
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		if err := e.put(store.Nodes, []byte(id), rows[id].Encode()); err != nil {
			return err
		}
	}
	return nil
}

// Alone makes the state one of which a single node is left: the other members are dead, what they
// held is presumed spent, and the generation is the next, so that nobody waits for what is lost.
// It returns the members that are dead now.
func Alone(tx *bolt.Tx, survivor string) (lost []resource.Member, err error) {
	e, err := edit(tx)
	if err != nil {
		return nil, err
	}
	e.pos.Generation++
	var dead []*resource.Member
	err = each(tx, store.Members, func(k []byte, v frame.Value) error {
		m, err := codec.Record[resource.Member](v)
		if err == nil && !m.Removed && string(k) != survivor {
			dead = append(dead, m)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, m := range dead {
		lost = append(lost, *m)
		if err := e.set(store.Names, relation.NameKey(store.Members, relation.Name(m)), nil); err != nil {
			return nil, err
		}
		m.Removed = true
		if err := e.putRecord(store.Members, []byte(m.ID), m); err != nil {
			return nil, err
		}
	}
	rows, err := memory.ReadNodes(tx)
	if err != nil {
		return nil, err
	}
	for id, n := range rows {
		n.Retire(e.index)
		if n.Removed = n.Removed || id != survivor; !n.Removed {
			e.end(n)
		}
	}
	if err := e.putNodes(rows); err != nil {
		return nil, err
	}
	return lost, e.done()
}
