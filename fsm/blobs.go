package fsm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/overlay"
	"github.com/conclave-llm/conclave/fsm/relation"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// MaxSweep is how many blobs one SweepBlobs names at most.
const MaxSweep = 256

// blobTotal is the key of the sum of all sizes and the number of blobs, eight bytes each, in their bucket; no digest is so short.
// Before 2026-12 it had the sum alone.
var blobTotal = []byte("total")

// Commands on blobs. Their bodies are on the nodes' disks, not in the log.
type (
	// PutBlob tells of a body that is stored. If the digest is known, the references and the
	// holders are added and the later expiry counts. Quota bounds all sizes together; 0: no bound.
	PutBlob struct {
		Blob  Encoded[resource.Blob] `json:"blob"`
		Quota int64                  `json:"quota,omitempty"`
	}
	// DeleteBlob forgets a blob that nothing refers to.
	DeleteBlob struct {
		ID string `json:"id"`
	}
	// ReferBlob adds a reference, or drops it.
	ReferBlob struct {
		ID   string `json:"id"`
		Ref  string `json:"ref"`
		Drop bool   `json:"drop,omitempty"`
	}
	// SweepBlobs forgets those of the blobs that have expired and that nothing refers to.
	SweepBlobs struct {
		IDs []string `json:"ids"`
	}
)

// Apply implements Command.
func (c PutBlob) Apply(tx *Tx) error {
	rec := c.Blob.Record()
	if rec == nil {
		return &resource.Invalid{Field: "blob", Reason: "is missing"}
	}
	if err := rec.Validate(); err != nil {
		return err
	}
	old, version, ok := tx.blob(rec.ID)
	next := *rec
	if ok {
		if old.Size != rec.Size {
			return fmt.Errorf("blob %s has %d bytes, not %d: %w", rec.ID, old.Size, rec.Size, resource.ErrConflict)
		}
		next = mergeBlob(old, rec)
		if len(next.Refs) > resource.MaxBlobRefs {
			return &resource.Invalid{Field: "refs", Reason: "are too many"}
		}
	} else if err := tx.countBlob(1, rec.Size, c.Quota); err != nil {
		return err
	}
	tx.putBlob(&next)
	tx.noteBlob(version, old, &next)
	return nil
}

// mergeBlob is what is known of a body that is stored a second time. What every node keeps
// stays so, and what never expires.
func mergeBlob(old, rec *resource.Blob) resource.Blob {
	next := *old
	if rec.Class == resource.BlobConfiguration {
		next.Class = rec.Class
	}
	if old.ExpiresAt == 0 || rec.ExpiresAt == 0 {
		next.ExpiresAt = 0
	} else {
		next.ExpiresAt = max(old.ExpiresAt, rec.ExpiresAt)
	}
	next.Refs = append(slices.Clone(old.Refs), rec.Refs...)
	next.Holders = append(slices.Clone(old.Holders), rec.Holders...)
	next.Canonicalize()
	return next
}

// Apply implements Command.
func (c DeleteBlob) Apply(tx *Tx) error {
	old, version, ok := tx.blob(c.ID)
	if !ok {
		return refuse(store.Blobs, c.ID, resource.ErrNotFound)
	}
	if refs := append(slices.Clone(old.Refs), tx.blobUsers(c.ID)...); len(refs) > 0 {
		return fmt.Errorf("blob %s is referred to by %s: %w", c.ID, refs[0], resource.ErrInUse)
	}
	tx.dropBlob(version, old)
	return nil
}

// Apply implements Command.
func (c ReferBlob) Apply(tx *Tx) error {
	if err := resource.ValidBlobRef(c.Ref); err != nil {
		return err
	}
	old, version, ok := tx.blob(c.ID)
	if !ok {
		return refuse(store.Blobs, c.ID, resource.ErrNotFound)
	}
	next := *old
	next.Refs = slices.DeleteFunc(slices.Clone(old.Refs), func(r string) bool { return r == c.Ref })
	if !c.Drop {
		next.Refs = append(next.Refs, c.Ref)
	}
	if len(next.Refs) > resource.MaxBlobRefs {
		return &resource.Invalid{Field: "ref", Reason: "is one too many for this blob"}
	}
	next.Canonicalize()
	tx.putBlob(&next)
	tx.noteBlob(version, old, &next)
	return nil
}

// Apply implements Command.
func (c SweepBlobs) Apply(tx *Tx) error {
	if len(c.IDs) == 0 || len(c.IDs) > MaxSweep {
		return &resource.Invalid{Field: "ids", Reason: "are none, or too many for one command"}
	}
	for _, id := range c.IDs {
		if old, version, ok := tx.blob(id); ok && Sweepable(old, tx.Now) && len(tx.blobUsers(id)) == 0 {
			tx.dropBlob(version, old)
		}
	}
	return nil
}

// Sweepable says whether nothing refers to the blob and its time is over.
func Sweepable(b *resource.Blob, now resource.Time) bool {
	return len(b.Refs) == 0 && b.ExpiresAt != 0 && b.ExpiresAt <= now
}

// blobUsers are the records whose fields name a blob, as its references: "deployment/dep_1". Those of plugins, responses and
// artifacts stand in the blob itself.
func (tx *Tx) blobUsers(id string) (refs []string) {
	prefix := relation.Prefix(store.Blobs, id)
	for _, k := range tx.scan(store.Refs, prefix) {
		refs = append(refs, string(bytes.TrimPrefix(k, prefix)))
	}
	return refs
}

func (tx *Tx) blob(id string) (*resource.Blob, uint64, bool) {
	if !resource.ValidDigest(id) {
		return nil, 0, false
	}
	return filed[resource.Blob](tx, store.Blobs, id)
}

func (tx *Tx) putBlob(b *resource.Blob) {
	tx.put(store.Blobs, []byte(b.ID), marshalBlob(b))
	tx.wrote = true
}

func (tx *Tx) dropBlob(version uint64, old *resource.Blob) {
	_ = tx.countBlob(-1, -old.Size, 0) // without a quota nothing is refused
	tx.delete(store.Blobs, []byte(old.ID))
	tx.noteBlob(version, old, nil)
}

// noteBlob tells of what a person did; nodes store what clients send, which is no change of
// the configuration.
func (tx *Tx) noteBlob(version uint64, before, after *resource.Blob) {
	named := after
	if named == nil {
		named = before
	}
	tx.note(store.Blobs.Kind(), named.ID, named.Name, version, marshalBlob(before), marshalBlob(after))
}

// marshalBlob gives nil for no blob.
func marshalBlob(b *resource.Blob) []byte {
	if b == nil {
		return nil
	}
	raw, err := codec.Marshal(*b)
	if err != nil {
		overlay.Fail(err)
	}
	return raw
}

// countBlob adds to the number of blobs and to the sum of all sizes, unless that would be over the quota.
func (tx *Tx) countBlob(more, size, quota int64) error {
	n, sum := more, size
	if f, ok := tx.get(store.Blobs, blobTotal); ok {
		had, bytes := blobTotals(f.Payload)
		if had < 0 {
			had = int64(len(tx.scan(store.Blobs, nil))) - 1 // but for the total
		}
		n, sum = n+had, sum+bytes
	}
	if quota > 0 && sum > quota {
		return fmt.Errorf("blobs of %d bytes would be over the cluster's quota of %d: delete some, or raise the setting blob_quota_mb: %w", sum, quota, resource.ErrFull)
	}
	tx.put(store.Blobs, blobTotal, binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(sum)), uint64(n)))
	return nil
}

// blobTotals reads the number of blobs, negative if it is not known, and the sum of their sizes.
func blobTotals(payload []byte) (n, sum int64) {
	n = -1
	if len(payload) >= 8 {
		sum = int64(binary.BigEndian.Uint64(payload))
	}
	if len(payload) >= 16 {
		n = int64(binary.BigEndian.Uint64(payload[8:]))
	}
	return n, sum
}

// Blob returns what is known of a blob, with all references.
func (f *FSM) Blob(id string) (b *resource.Blob, ok bool) {
	if !resource.ValidDigest(id) {
		return nil, false
	}
	if b, _, ok = readFiled[resource.Blob](f, store.Blobs, id); ok {
		f.view(func(tx *bolt.Tx) error { return addUsers(tx, b) })
	}
	return b, ok
}

// addUsers adds the records whose fields name a blob to its references.
func addUsers(tx *bolt.Tx, b *resource.Blob) error {
	prefix := relation.Prefix(store.Blobs, b.ID)
	c := store.Refs.In(tx).Cursor()
	for k, v := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
		if _, err := frame.Parse(k, v); err != nil {
			return err
		}
		b.Refs = append(b.Refs, string(k[len(prefix):]))
	}
	b.Canonicalize()
	return nil
}

// BlobCount is how many blobs there are.
func (f *FSM) BlobCount() (n int64) {
	f.view(func(tx *bolt.Tx) error {
		fr, ok, err := store.Blobs.Read(tx, blobTotal)
		if ok {
			n, _ = blobTotals(fr.Payload)
		}
		return err
	})
	return max(0, n)
}

// Blobs returns at most limit blobs behind the id, in the order of their ids, with all references; "" begins.
func (f *FSM) Blobs(after string, limit int) (all []*resource.Blob) {
	f.view(func(tx *bolt.Tx) error {
		c := store.Blobs.In(tx).Cursor()
		for k, v := c.Seek([]byte(after)); k != nil && len(all) < limit; k, v = c.Next() {
			if bytes.Equal(k, blobTotal) || string(k) == after {
				continue
			}
			parsed, err := frame.Parse(k, v)
			if err != nil {
				return err
			}
			b, err := parse[resource.Blob](store.Blobs, parsed)
			if err != nil {
				return err
			}
			if err := addUsers(tx, b); err != nil {
				return err
			}
			all = append(all, b)
		}
		return nil
	})
	return all
}
