package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// maxID is the longest id of a record.
const maxID = 128

// load reads a record within Apply.
func load[T any, P codec.Canonicalizer[T]](tx *Tx, b store.Bucket, id string) (P, frame.Value, bool) {
	f, ok := tx.get(b, []byte(id))
	if !ok {
		return nil, f, false
	}
	v, err := codec.Record[T, P](f)
	if err != nil {
		fail(err)
	}
	return v, f, true
}

func (tx *Tx) has(b store.Bucket, id string) bool { return tx.raw(b, []byte(id)) != nil }

// putRecord stores a record that its proposer read at the version read, 0 to create it. It
// returns what it replaced, nil if it created.
func putRecord[T any, P codec.Canonicalizer[T]](tx *Tx, b store.Bucket, e Encoded[T], read uint64) (P, error) {
	if e.Record() == nil {
		return nil, &resource.Invalid{Field: b.Kind(), Reason: "is missing"}
	}
	rec := P(e.Record())
	id := rec.Head().ID
	if id == "" || len(id) > maxID || strings.ContainsAny(id, "/\x00") {
		return nil, &resource.Invalid{Field: "id", Reason: fmt.Sprintf("an id has 1 to %d bytes and no slash", maxID)}
	}
	old, f, exists := load[T, P](tx, b, id)
	if err := tx.checkVersion(b, id, read, f.Version); err != nil {
		return nil, err
	}
	if err := tx.checkOwner(rec.Head().Owner); err != nil {
		return nil, err
	}
	var before resource.Record
	if exists {
		if err := tx.checkOwner(old.Head().Owner); err != nil {
			return nil, err
		}
		before = old
	}
	if err := tx.moveName(b, id, before, rec); err != nil {
		return nil, err
	}
	if err := tx.moveRefs(b, id, before, rec); err != nil {
		return nil, err
	}
	tx.putFrame(b, []byte(id), frame.Value{Version: tx.Index, Flags: f.Flags, Payload: e.Raw()})
	tx.wrote = true
	tx.note(b.Kind(), id, label(rec), f.Version, f.Payload, e.Raw())
	return old, nil
}

// deleteRecord deletes a record and leaves a tombstone: its id stays dead.
func deleteRecord[T any, P codec.Canonicalizer[T]](tx *Tx, b store.Bucket, id string) (P, error) {
	old, f, ok := load[T, P](tx, b, id)
	if !ok {
		return nil, refuse(b, id, resource.ErrNotFound)
	}
	if err := tx.checkOwner(old.Head().Owner); err != nil {
		return nil, refuse(b, id, err)
	}
	if err := tx.moveName(b, id, old, nil); err != nil {
		return nil, err
	}
	if err := tx.moveRefs(b, id, old, nil); err != nil {
		return nil, err
	}
	tx.delete(b, []byte(id))
	if b != store.Settings {
		tx.put(store.Tombstones, tombstone(b, id), nil)
	}
	tx.note(b.Kind(), id, label(old), f.Version, f.Payload, nil)
	return old, nil
}

// setBlocked changes the flag of a record's frame; the record's bytes stay as they are.
func setBlocked(tx *Tx, b store.Bucket, id string, blocked bool) error {
	f, ok := tx.get(b, []byte(id))
	if !ok {
		return refuse(b, id, resource.ErrNotFound)
	}
	replaced, was := f.Version, f.Flags&frame.FlagBlocked != 0
	f.Version = tx.Index
	f.Flags &^= frame.FlagBlocked
	if blocked {
		f.Flags |= frame.FlagBlocked
	}
	tx.putFrame(b, []byte(id), f)
	tx.wrote = true
	tx.note(b.Kind(), id, audit.NameOf(f.Payload), replaced, audit.Flag("blocked", was), audit.Flag("blocked", blocked))
	return nil
}

func refuse(b store.Bucket, id string, err error) error {
	return fmt.Errorf("%s %q: %w", b.Kind(), id, err)
}

func tombstone(b store.Bucket, id string) []byte { return []byte(b.Kind() + "/" + id) }

func (tx *Tx) checkVersion(b store.Bucket, id string, read, stored uint64) error {
	if stored == read {
		if stored == 0 && tx.raw(store.Tombstones, tombstone(b, id)) != nil {
			return refuse(b, id, resource.ErrDead)
		}
		return nil
	}
	if stored != 0 {
		return refuse(b, id, resource.ErrConflict)
	}
	if tx.raw(store.Tombstones, tombstone(b, id)) != nil {
		return refuse(b, id, resource.ErrDead)
	}
	return refuse(b, id, resource.ErrNotFound)
}

// checkOwner lets the file write what the file owns, and everybody else the rest.
func (tx *Tx) checkOwner(owner resource.Owner) error {
	if (owner == resource.OwnerFile) == (tx.Actor.Kind == actorFile) {
		return nil
	}
	return resource.ErrOwner
}

// label is the name of a record that is unique among its kind, "" for none.
func label(r resource.Record) string {
	if d, ok := r.(*resource.Deployment); ok && d.Name != "" {
		return d.ModelID + "/" + d.Name
	}
	return r.Label()
}

func nameKey(b store.Bucket, name string) []byte { return []byte(b.Kind() + "\x00" + name) }

// moveName gives the record's name up and takes the new one; either record may be nil.
func (tx *Tx) moveName(b store.Bucket, id string, from, to resource.Record) error {
	var old, name string
	if from != nil {
		old = label(from)
	}
	if to != nil {
		name = label(to)
	}
	if old == name {
		return nil
	}
	if name != "" {
		if _, taken := tx.get(store.Names, nameKey(b, name)); taken {
			return fmt.Errorf("%s named %q: %w", b.Kind(), name, resource.ErrExists)
		}
		tx.put(store.Names, nameKey(b, name), []byte(id))
	}
	if old != "" {
		tx.delete(store.Names, nameKey(b, old))
	}
	return nil
}

// reference is a field of a record that names another record.
type reference struct {
	to     store.Bucket
	id     string
	field  string
	unseen bool // the other record need not exist: shipped plugins have none
}

func references(r resource.Record) []reference {
	var refs []reference
	add := func(to store.Bucket, id, field string) {
		if id != "" {
			refs = append(refs, reference{to: to, id: id, field: field, unseen: to == store.Plugins})
		}
	}
	switch r := r.(type) {
	case *resource.Key:
		add(store.Teams, r.TeamID, "team_id")
		add(store.Budgets, r.BudgetID, "budget_id")
	case *resource.Team:
		add(store.Budgets, r.BudgetID, "budget_id")
	case *resource.Deployment:
		add(store.Models, r.ModelID, "model_id")
		add(store.Credentials, r.CredentialID, "credential_id")
	case *resource.Guardrail:
		add(store.Plugins, r.Plugin, "plugin") // by name
	case *resource.Callback:
		add(store.Plugins, r.Plugin, "plugin")
	}
	return refs
}

func refPrefix(to store.Bucket, id string) []byte { return []byte(to.Kind() + "/" + id + "\x00") }

func (r reference) key(from store.Bucket, id string) []byte {
	return append(refPrefix(r.to, r.id), from.Kind()+"/"+id...)
}

// moveRefs checks that what a record refers to exists and keeps the index of references.
func (tx *Tx) moveRefs(b store.Bucket, id string, from, to resource.Record) error {
	var old, refs []reference
	if from != nil {
		old = references(from)
	}
	if to != nil {
		refs = references(to)
	}
	for _, r := range refs {
		if !r.unseen && !tx.has(r.to, r.id) {
			return &resource.Invalid{Field: r.field, Reason: fmt.Sprintf("there is no %s %q", r.to.Kind(), r.id)}
		}
	}
	for _, r := range old {
		if !slices.Contains(refs, r) {
			tx.delete(store.Refs, r.key(b, id))
		}
	}
	for _, r := range refs {
		if !slices.Contains(old, r) {
			tx.put(store.Refs, r.key(b, id), nil)
		}
	}
	return nil
}

// inUse refuses if a record refers to the one with the id (the name, for plugins).
func (tx *Tx) inUse(b store.Bucket, id string) error {
	if tx.any(store.Refs, refPrefix(b, id)) {
		return refuse(b, id, resource.ErrInUse)
	}
	return nil
}

// referrers lists the records that refer to the one with the id, as "kind/id".
func (tx *Tx) referrers(b store.Bucket, id string) []string {
	prefix := refPrefix(b, id)
	var from []string
	for _, k := range tx.scan(store.Refs, prefix) {
		from = append(from, string(bytes.TrimPrefix(k, prefix)))
	}
	return from
}
