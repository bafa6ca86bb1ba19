package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/overlay"
	"github.com/conclave-llm/conclave/fsm/relation"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// load reads a record within Apply.
func load[T any, P codec.Canonicalizer[T]](tx *Tx, b store.Bucket, id string) (P, frame.Value, bool) {
	f, ok := tx.get(b, []byte(id))
	if !ok {
		return nil, f, false
	}
	v, err := codec.Record[T, P](f)
	if err != nil {
		overlay.Fail(err)
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
	if !relation.ValidID(b, id) {
		return nil, &resource.Invalid{Field: "id", Reason: "an id has 1 to 128 bytes and no slash"}
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
		if err := tx.checkOwner(old.Head().Owner); err != nil && !tx.taken[b.Kind()+"/"+id] {
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
	if exists {
		tx.putFrame(b, []byte(id), frame.Value{Version: tx.Index, Flags: f.Flags, Payload: e.Raw()})
	} else {
		tx.create(b, []byte(id), e.Raw())
	}
	tx.wrote = true
	tx.note(b.Kind(), id, relation.Name(rec), f.Version, f.Payload, e.Raw())
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
	if !relation.Natural(b) {
		tx.put(store.Tombstones, relation.Tombstone(b, id), nil)
	}
	tx.note(b.Kind(), id, relation.Name(old), f.Version, f.Payload, nil)
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

func (tx *Tx) checkVersion(b store.Bucket, id string, read, stored uint64) error {
	if stored == read {
		if stored == 0 && tx.raw(store.Tombstones, relation.Tombstone(b, id)) != nil {
			return refuse(b, id, resource.ErrDead)
		}
		return nil
	}
	if stored != 0 {
		return refuse(b, id, resource.ErrConflict)
	}
	if tx.raw(store.Tombstones, relation.Tombstone(b, id)) != nil {
		return refuse(b, id, resource.ErrDead)
	}
	return refuse(b, id, resource.ErrNotFound)
}

// checkOwner lets the file write what the file owns, and everybody else the rest.
func (tx *Tx) checkOwner(owner resource.Owner) error {
	if (owner == resource.OwnerFile) == (tx.asFile || tx.Actor.Kind == actorFile) {
		return nil
	}
	return resource.ErrOwner
}

// moveName gives the record's name up and takes the new one; either record may be nil.
func (tx *Tx) moveName(b store.Bucket, id string, from, to resource.Record) error {
	var old, name string
	if from != nil {
		old = relation.Name(from)
	}
	if to != nil {
		name = relation.Name(to)
	}
	if old == name {
		return nil
	}
	if name != "" {
		if _, taken := tx.get(store.Names, relation.NameKey(b, name)); taken {
			return fmt.Errorf("%s named %q: %w", b.Kind(), name, resource.ErrExists)
		}
		tx.create(store.Names, relation.NameKey(b, name), []byte(id))
	}
	if old != "" {
		tx.delete(store.Names, relation.NameKey(b, old))
	}
	return nil
}

// moveRefs checks that what a record refers to exists and keeps the index of references.
func (tx *Tx) moveRefs(b store.Bucket, id string, from, to resource.Record) error {
	var old, refs []relation.Reference
	if from != nil {
		old = relation.Of(from)
	}
	if to != nil {
		refs = relation.Of(to)
	}
	for _, r := range refs {
		if !r.Unseen && !tx.has(r.To, r.ID) {
			return &resource.Invalid{Field: r.Field, Reason: fmt.Sprintf("there is no %s %q", r.To.Kind(), r.ID)}
		}
	}
	for _, r := range old {
		if !slices.Contains(refs, r) {
			tx.delete(store.Refs, r.Key(b, id))
		}
	}
	for _, r := range refs {
		if !slices.Contains(old, r) {
			tx.put(store.Refs, r.Key(b, id), nil)
		}
	}
	return nil
}

// inUse refuses if a record refers to the one with the id (the name, for plugins).
func (tx *Tx) inUse(b store.Bucket, id string) error {
	if by := tx.referrer(b, id); by != "" {
		return fmt.Errorf("%s %q is named by %s: %w", b.Kind(), id, by, resource.ErrInUse)
	}
	return nil
}

// referrer names a record that refers to the one with the id, "" if none does.
func (tx *Tx) referrer(to store.Bucket, id string) string {
	prefix := relation.Prefix(to, id)
	k := tx.first(store.Refs, prefix)
	if k == nil {
		return ""
	}
	kind, by, _ := strings.Cut(string(k[len(prefix):]), "/")
	return kind + " " + strconv.Quote(by)
}

// referrers lists the ids of the records in from that refer to the one with the id.
func (tx *Tx) referrers(to store.Bucket, id string, from store.Bucket) []string {
	prefix := append(relation.Prefix(to, id), from.Kind()+"/"...)
	var ids []string
	for _, k := range tx.scan(store.Refs, prefix) {
		ids = append(ids, string(bytes.TrimPrefix(k, prefix)))
	}
	return ids
}

// named finds the id of the record with a name.
func (tx *Tx) named(b store.Bucket, name string) (id string, ok bool) {
	f, ok := tx.get(store.Names, relation.NameKey(b, name))
	return string(f.Payload), ok
}
