package fsm

import (
	"bytes"
	"fmt"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/overlay"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// TurnKey is a step of a key's scheduled rotation: a node stages a new secret, or puts it in
// the place of the old one once it is delivered. It changes nothing else of the key.
type TurnKey PutKey

// RotateKey is TurnKey with an entry of the audit log where the secret changes: by whose node and, if somebody
// fetched the new one, for whom. Entries of older programs are TurnKey, and have none.
type RotateKey TurnKey

// Apply implements Command.
func (c RotateKey) Apply(tx *Tx) error {
	if next := c.Key.Record(); next != nil {
		old, _, ok := load[resource.Key](tx, store.Keys, next.ID)
		tx.told = ok && old.Hash != next.Hash
	}
	return TurnKey(c).Apply(tx)
}

// Apply implements Command.
func (c TurnKey) Apply(tx *Tx) error {
	next := c.Key.Record()
	if next == nil {
		return &resource.Invalid{Field: "key", Reason: "is missing"}
	}
	old, f, ok := load[resource.Key](tx, store.Keys, next.ID)
	if !ok {
		return refuse(store.Keys, next.ID, resource.ErrNotFound)
	}
	if err := tx.checkVersion(store.Keys, next.ID, c.Read, f.Version); err != nil {
		return err
	}
	allowed := *old
	allowed.Hash, allowed.Hint, allowed.OldHashes, allowed.Next = next.Hash, next.Hint, next.OldHashes, next.Next
	allowed.RotateAt, allowed.RotatedAt, allowed.UpdatedAt, allowed.UpdatedBy = next.RotateAt, next.RotatedAt, next.UpdatedAt, next.UpdatedBy
	want, err := codec.Marshal(allowed)
	if err != nil {
		overlay.Fail(err)
	}
	if old.Rotation == nil || !bytes.Equal(want, c.Key.Raw()) {
		return fmt.Errorf("key %q: a rotation changes nothing but the secret: %w", next.ID, resource.ErrForbidden)
	}
	return PutKey(c).Apply(tx)
}
