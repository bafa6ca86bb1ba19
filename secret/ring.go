package secret

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Wrapper seals and opens small keys. *KEK and *Ring are Wrappers.
type Wrapper interface {
	Wrap(plain []byte, purpose string) ([]byte, error)
	Unwrap(box []byte, purpose string) ([]byte, error)
}

// Ring holds the KEKs that a node has: the one in use and, while it is exchanged, another.
// It seals under the one in use and opens with any. It may be used by several goroutines.
type Ring struct {
	mu   sync.RWMutex // guards keks
	keks []*KEK       // the one in use first
}

// NewRing makes a ring of one KEK.
func NewRing(kek *KEK) *Ring { return &Ring{keks: []*KEK{kek}} }

// Add takes a KEK in, which is not used yet. One that is there is left alone.
func (r *Ring) Add(k *KEK) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.find(k.id) < 0 {
		r.keks = append(r.keks, k)
	}
}

// Use seals under the KEK with the id from now on; false if the ring lacks it.
func (r *Ring) Use(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.find(id)
	if i < 0 {
		return false
	}
	k := r.keks[i]
	r.keks = slices.Insert(slices.Delete(slices.Clone(r.keks), i, i+1), 0, k)
	return true
}

// Keep forgets every KEK but that in use.
func (r *Ring) Keep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keks = r.keks[:1:1]
}

// Find returns the KEK with the id.
func (r *Ring) Find(id string) (*KEK, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if i := r.find(id); i >= 0 {
		return r.keks[i], true
	}
	return nil, false
}

// Other returns a KEK that has not the id.
func (r *Ring) Other(id string) (*KEK, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	i := slices.IndexFunc(r.keks, func(k *KEK) bool { return k.id != id })
	if i < 0 {
		return nil, false
	}
	return r.keks[i], true
}

// find needs the lock.
func (r *Ring) find(id string) int {
	return slices.IndexFunc(r.keks, func(k *KEK) bool { return k.id == id })
}

// IDs names all KEKs, the one in use first.
func (r *Ring) IDs() string {
	var ids []string
	for _, k := range r.all() {
		ids = append(ids, k.id)
	}
	return strings.Join(ids, " ")
}

// Len is the number of KEKs.
func (r *Ring) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.keks)
}

// all are the KEKs, the one in use first. They are not to be changed.
func (r *Ring) all() []*KEK {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.keks
}

// InUse is the KEK that seals.
func (r *Ring) InUse() *KEK {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.keks[0]
}

// ID names the KEK in use.
func (r *Ring) ID() string { return r.InUse().ID() }

// Bytes is the KEK in use, to be handed to a joining node.
func (r *Ring) Bytes() []byte { return r.InUse().Bytes() }

// Wrap seals under the KEK in use.
func (r *Ring) Wrap(plain []byte, purpose string) ([]byte, error) {
	return r.InUse().Wrap(plain, purpose)
}

// Unwrap opens what any of the KEKs sealed, or returns ErrWrongKey.
func (r *Ring) Unwrap(box []byte, purpose string) ([]byte, error) {
	for _, k := range r.all() {
		if plain, err := k.Unwrap(box, purpose); err == nil {
			return plain, nil
		}
	}
	return nil, fmt.Errorf("unwrap %s: %w", purpose, ErrWrongKey)
}
