package fsm

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/fsm/overlay"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// Pending orders stand apart from receipts, so that a tick reads those alone.
const (
	pendingErasure = "p/"
	erasureReceipt = "r/"
)

// OrderErasure deletes a person's record, with a user's keys, brings all his totals under a
// pseudonym, and orders every node to forget him.
type OrderErasure struct {
	ID        string `json:"id"`
	Kind      string `json:"kind"`
	Subject   string `json:"subject"`
	Pseudonym string `json:"pseudonym"`
}

// NoteErasure tells that a node has reached a stage.
type NoteErasure struct {
	ID       string `json:"id"`
	Node     string `json:"node"`
	Stage    int    `json:"stage"`
	Rows     int64  `json:"rows,omitempty"`
	Contents int64  `json:"contents,omitempty"`
}

// Apply implements Command.
func (c OrderErasure) Apply(tx *Tx) error {
	if err := c.check(tx); err != nil {
		return err
	}
	told := len(tx.audits) // entries about the records would keep what they tell of the person
	if err := tx.erasePerson(c.Kind, c.Subject); err != nil {
		return err
	}
	tx.audits = tx.audits[:told]
	tx.moveTotals(c.Kind, c.Subject, c.Pseudonym)
	tx.forgetAlerts(c.Kind, c.Subject)
	e := &resource.Erasure{ID: c.ID, Kind: c.Kind, Subject: c.Subject, Pseudonym: c.Pseudonym, At: tx.Now, By: actorName(tx.Actor)}
	nodes := tx.allNodes()
	for _, id := range slices.Sorted(maps.Keys(nodes)) {
		if nodes[id].Removed {
			continue
		}
		n := resource.ErasureNode{ID: id}
		if m, _, ok := load[resource.Member](tx, store.Members, id); ok {
			n.Name = m.Name
		}
		e.Nodes = append(e.Nodes, n)
	}
	tx.putErasure(pendingErasure, e)
	public := *e
	public.Subject, public.Nodes = "", nil
	tx.wrote = true
	tx.note(store.Erasures.Kind(), e.ID, e.Pseudonym, 0, nil, marshalErasure(&public))
	return nil
}

func (c *OrderErasure) check(tx *Tx) error {
	switch {
	case c.Kind != resource.HolderCustomer && c.Kind != resource.HolderUser:
		return &resource.Invalid{Field: "kind", Reason: "is neither customer nor user"}
	case c.ID == "" || strings.ContainsAny(c.ID, "/\x00"):
		return &resource.Invalid{Field: "id", Reason: "is missing or has a slash"}
	case c.Subject == "" || strings.HasPrefix(c.Subject, resource.PseudonymPrefix):
		return &resource.Invalid{Field: "subject", Reason: "is missing, or a pseudonym already"}
	case !strings.HasPrefix(c.Pseudonym, resource.PseudonymPrefix) || strings.ContainsAny(c.Pseudonym, "/\x00"):
		return &resource.Invalid{Field: "pseudonym", Reason: "does not begin with " + resource.PseudonymPrefix}
	}
	if tx.raw(store.Erasures, []byte(pendingErasure+c.ID)) != nil || tx.raw(store.Erasures, []byte(erasureReceipt+c.ID)) != nil {
		return fmt.Errorf("erasure %q: %w", c.ID, resource.ErrConflict)
	}
	for _, e := range tx.pendingErasures() {
		if e.Kind == c.Kind && e.Subject == c.Subject {
			return fmt.Errorf("erasure %q of the same person is pending: %w", e.ID, resource.ErrConflict)
		}
	}
	return nil
}

// erasePerson deletes the record, if there is one, and all that goes with it.
func (tx *Tx) erasePerson(kind, id string) error {
	if kind == resource.HolderCustomer {
		if tx.raw(store.Customers, []byte(id)) == nil {
			return nil
		}
		return DeleteCustomer{ID: id}.Apply(tx)
	}
	if tx.raw(store.Users, []byte(id)) == nil {
		return nil
	}
	for _, key := range tx.referrers(store.Users, id, store.Keys) {
		if err := (DeleteKey{ID: key}).Apply(tx); err != nil {
			return err
		}
	}
	return DeleteUser{ID: id}.Apply(tx)
}

// moveTotals brings a person's totals under the pseudonym.
func (tx *Tx) moveTotals(kind, from, to string) {
	tx.moveRows(money.TotalsKey(kind, from), money.TotalsKey(kind, to))
	if kind != resource.HolderUser {
		return
	}
	prefix := []byte(resource.HolderMember + "/")
	for _, k := range tx.scan(store.Totals, prefix) {
		holder, _, _ := strings.Cut(string(k), "\x00")
		if team, user, ok := strings.Cut(holder[len(prefix):], "/"); ok && user == from {
			tx.moveRows(money.TotalsKey(resource.HolderMember, team+"/"+from), money.TotalsKey(resource.HolderMember, team+"/"+to))
		}
	}
}

func (tx *Tx) moveRows(from, to []byte) {
	for _, k := range tx.scan(store.Totals, from) {
		f, ok := tx.get(store.Totals, k)
		if !ok {
			continue
		}
		t, err := money.ParseTotals(f.Payload)
		if err != nil {
			overlay.Fail(err)
		}
		tx.addTotals(append(slices.Clone(to), k[len(from):]...), t)
		tx.delete(store.Totals, k)
	}
}

// Apply implements Command.
func (c NoteErasure) Apply(tx *Tx) error {
	if tx.Actor.ID != c.Node {
		return fmt.Errorf("node %q tells what node %q has erased: %w", tx.Actor.ID, c.Node, resource.ErrForbidden)
	}
	e, ok := tx.erasure(pendingErasure + c.ID)
	if !ok {
		return nil // it is done: the node asks again after a restart
	}
	n := e.Node(c.Node)
	if n == nil {
		return fmt.Errorf("node %q has no part in erasure %q: %w", c.Node, c.ID, resource.ErrNotFound)
	}
	if c.Stage > n.Stage {
		if n.Stage, n.At = c.Stage, tx.Now; c.Stage >= resource.ErasureCut && n.To == 0 {
			n.To = tx.covered(c.Node)
		}
		n.Rows, n.Contents = n.Rows+c.Rows, n.Contents+c.Contents
	}
	for i := range e.Nodes {
		other, ok := tx.node(e.Nodes[i].ID)
		e.Nodes[i].Gone = (!ok || other.Removed) && e.Nodes[i].Stage < resource.ErasureDone
	}
	if !e.Reached(resource.ErasureDone) {
		tx.putErasure(pendingErasure, e)
		return nil
	}
	tx.delete(store.Erasures, []byte(pendingErasure+e.ID))
	e.Subject, e.DoneAt = "", tx.Now
	tx.putErasure(erasureReceipt, e)
	return nil
}

// covered is the last record of a node's journal that its ticks have brought here.
func (tx *Tx) covered(node string) uint64 {
	n, ok := tx.node(node)
	if !ok {
		return 0
	}
	return n.Covered()
}

// forget brings a node's spend on people who are being forgotten under their pseudonyms, as
// long as the node has not said where its journal is cut.
func (tx *Tx) forget(pending []*resource.Erasure, node string, d *SpendDelta) {
	for _, e := range pending {
		if n := e.Node(node); n != nil && n.Stage >= resource.ErasureCut {
			continue
		}
		switch {
		case e.Kind == resource.HolderCustomer && d.Customer == e.Subject:
			d.Customer = e.Pseudonym
		case e.Kind == resource.HolderUser && d.User == e.Subject:
			d.User = e.Pseudonym
		}
	}
}

func (tx *Tx) pendingErasures() (all []*resource.Erasure) {
	for _, k := range tx.scan(store.Erasures, []byte(pendingErasure)) {
		if e, ok := tx.erasure(string(k)); ok {
			all = append(all, e)
		}
	}
	return all
}

func (tx *Tx) erasure(key string) (*resource.Erasure, bool) {
	f, ok := tx.get(store.Erasures, []byte(key))
	if !ok {
		return nil, false
	}
	e, err := parseErasure(f)
	if err != nil {
		overlay.Fail(err)
	}
	return e, true
}

func (tx *Tx) putErasure(prefix string, e *resource.Erasure) {
	tx.put(store.Erasures, []byte(prefix+e.ID), marshalErasure(e))
}

func marshalErasure(e *resource.Erasure) []byte { return marshal(e) }

func parseErasure(f frame.Value) (*resource.Erasure, error) {
	e := new(resource.Erasure)
	if err := codec.Unmarshal(f.Payload, e); err != nil {
		return nil, fmt.Errorf("decode erasure: %w: %w", err, frame.ErrDamaged)
	}
	return e, nil
}

// PendingErasures returns the orders that some node has not carried out yet.
func (f *FSM) PendingErasures() []*resource.Erasure { return f.erasures(pendingErasure) }

// Erasures returns all orders and receipts, the pending ones first.
func (f *FSM) Erasures() []*resource.Erasure { return f.erasures("") }

// Erasure returns an order or receipt.
func (f *FSM) Erasure(id string) (*resource.Erasure, bool) {
	all := f.Erasures()
	i := slices.IndexFunc(all, func(e *resource.Erasure) bool { return e.ID == id })
	if i < 0 {
		return nil, false
	}
	return all[i], true
}

func (f *FSM) erasures(prefix string) (all []*resource.Erasure) {
	f.view(func(tx *bolt.Tx) error {
		c := store.Erasures.In(tx).Cursor()
		for k, v := c.Seek([]byte(prefix)); k != nil && strings.HasPrefix(string(k), prefix); k, v = c.Next() {
			parsed, err := frame.Parse(k, v)
			if err != nil {
				return err
			}
			e, err := parseErasure(parsed)
			if err != nil {
				return err
			}
			all = append(all, e)
		}
		return nil
	})
	return all
}
