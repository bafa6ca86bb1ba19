// Package keyshelf keeps the secrets of virtual keys in a store of secrets, where a secret source is told to
// (store_virtual_keys). A secret is in the store before its key is committed: if the store refuses it,
// nothing is; and if the commit is refused, the store gets back what it had.
package keyshelf

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// CodeFailed is the code of a write of a key that was not done because the store did not take its secret.
const CodeFailed = "secret_store_failed"

const (
	maxAtOnce   = 16               // secrets of one call that are written at a time
	undoTimeout = 10 * time.Second // for the store to get back what it had, or to lose what is of no use
)

// Store writes secrets by references to secret sources. *secretsource.Cache is one. Its errors are
// *secret.Unresolved.
type Store interface {
	Fetch(ctx context.Context, ref string) (secret.Text, error)
	Put(ctx context.Context, ref string, value secret.Text, description string) error
	Remove(ctx context.Context, ref string) error
}

// Shelf keeps the secrets. It may be used concurrently.
type Shelf struct {
	store   Store
	catalog func() *resource.Catalog
	log     *slog.Logger
}

// New makes a shelf in the stores that the catalog's secret sources name. store may be nil: then a key
// that is to be kept is refused.
func New(store Store, catalog func() *resource.Catalog, log *slog.Logger) *Shelf {
	return &Shelf{store, catalog, log}
}

// source is where new secrets go, nil if nowhere: the first by name that is told to keep them.
func (s *Shelf) source() (first *resource.SecretSource) {
	for _, c := range s.catalog().Tables().SecretSources {
		if c.StoreVirtualKeys && (first == nil || c.Name < first.Name) {
			first = c
		}
	}
	return first
}

// Assign says in the record of a key, whose secret is a new one, where that is kept. A key stays where it
// is as long as its source keeps keys.
func (s *Shelf) Assign(k *resource.Key) {
	if ref, err := resource.ParseSecretRef(k.StoredIn); err == nil {
		for _, c := range s.catalog().Tables().SecretSources {
			if c.Name == ref.Source && c.StoreVirtualKeys {
				return
			}
		}
	}
	k.StoredIn = ""
	if c := s.source(); c != nil {
		k.StoredIn = c.KeyRef(k)
	}
}

// Item is the new secret of a key that is to be committed.
type Item struct {
	Key    *resource.Key
	Secret string
}

// place is what a store had before a secret was written.
type place struct {
	ref    string
	before secret.Text // zero: nothing, or it could not be read
	read   bool        // the store said what it had, or that it had nothing
}

// Commit writes the secrets of keys that are kept somewhere, and commits. Where the store takes one of them
// not, nothing is committed, and the error is an *llm.Error with the status 502.
func (s *Shelf) Commit(ctx context.Context, items []Item, commit func() error) error {
	done, err := s.put(ctx, items)
	if err != nil {
		s.undo(ctx, done)
		return err
	}
	err = commit()
	switch {
	case err == nil:
	case refused(err):
		s.undo(ctx, done)
	case len(done) > 0:
		s.log.Warn("it is not known whether keys were committed whose secrets are in the secret store already", "keys", len(done), "error", err)
	}
	return err
}

// refused says whether nothing was committed, for certain.
func refused(err error) bool {
	code := resource.Code(err)
	return code != "" && code != resource.Code(resource.ErrNoLeader)
}

// put writes the secrets, several at a time, and returns the places that were written, or may have been.
func (s *Shelf) put(ctx context.Context, items []Item) (done []place, err error) {
	var mu sync.Mutex // guards done and err
	var wg sync.WaitGroup
	turn := make(chan struct{}, maxAtOnce)
	for _, it := range items {
		if it.Key.StoredIn == "" {
			continue
		}
		turn <- struct{}{}
		mu.Lock()
		failed := err != nil
		mu.Unlock()
		if failed {
			break
		}
		wg.Go(func() {
			defer func() { <-turn }()
			p, failed := s.one(ctx, it)
			mu.Lock()
			defer mu.Unlock()
			if failed == nil || p.read && reason(failed) == unavailable { // a write without an answer may be done
				done = append(done, p)
			}
			if failed != nil && err == nil {
				err = failure(p.ref, failed)
			}
		})
	}
	wg.Wait()
	return done, err
}

func (s *Shelf) one(ctx context.Context, it Item) (place, error) {
	p := place{ref: it.Key.StoredIn}
	if s.store == nil {
		return p, errors.New("this node has no secret sources")
	}
	var err error
	p.before, err = s.store.Fetch(ctx, p.ref) // a store that may not be read has nothing to give back
	p.read = err == nil || reason(err) == notFound
	name := it.Key.Name
	if name == "" {
		name = it.Key.ID
	}
	return p, s.store.Put(ctx, p.ref, secret.New(it.Secret), "Conclave's virtual key "+name)
}

// The reasons of a store that are told apart.
const (
	notFound    = "not_found"
	unavailable = "unavailable"
)

// reason is why a store did not do what it was asked; "": it is not said.
func reason(err error) string {
	if u, ok := errors.AsType[*secret.Unresolved](err); ok {
		return u.Reason
	}
	return ""
}

// failure is the error for a client whose key could not be kept.
func failure(ref string, err error) error {
	if u, ok := errors.AsType[*secret.Unresolved](err); ok {
		err = u.Err
	}
	return &llm.Error{
		Kind: llm.Upstream, Code: CodeFailed,
		Message: fmt.Sprintf("The secret of the key could not be written to %s, so nothing was changed: %v.", ref, err),
	}
}

// undo gives the stores back what they had, also if the client has left.
func (s *Shelf) undo(ctx context.Context, done []place) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	for _, p := range done {
		var err error
		if p.before.IsZero() {
			err = s.store.Remove(ctx, p.ref)
		} else {
			err = s.store.Put(ctx, p.ref, p.before, "")
		}
		if err != nil && reason(err) != notFound {
			s.log.Warn("the secret store may keep a secret that no key has", "error", err)
		}
	}
}

// Gone is a key that is to be deleted.
type Gone struct {
	Ref  string
	Hash resource.Hash
}

// Remove takes the secrets of deleted keys out of their stores, unless another key's is there by now. The
// keys are deleted already: a store that refuses is no reason to bring them back, and the log tells.
func (s *Shelf) Remove(ctx context.Context, gone []Gone) {
	if len(gone) == 0 || s.store == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	for _, g := range gone {
		now, err := s.store.Fetch(ctx, g.Ref)
		if err == nil && resource.HashSecret(now.Reveal()) != g.Hash {
			continue
		}
		if err = s.store.Remove(ctx, g.Ref); err != nil && reason(err) != notFound {
			s.log.Error("the secret of a deleted key is still in the secret store, where it opens nothing any more", "error", err)
		}
	}
}
