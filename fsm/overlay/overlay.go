// Package overlay is what a command writes before anybody knows whether it is accepted: it
// lies over the batch's transaction, is read as if it were there already, and is moved into it
// in key order or dropped.
//
// Its functions return no I/O error: the first one ends the batch by a panic with a *Failure.
package overlay

import (
	"bytes"
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/keyset"
	"github.com/conclave-llm/conclave/fsm/store"
)

// Failure carries the first I/O error up to whoever began the batch.
type Failure struct{ Err error }

// Fail ends the batch.
func Fail(err error) { panic(&Failure{err}) }

// Catch makes the failure of a read outside of a batch its error.
func Catch(err *error) {
	if r := recover(); r != nil {
		f, ok := r.(*Failure)
		if !ok {
			panic(r)
		}
		*err = f.Err
	}
}

// Base is the batch's transaction.
type Base struct {
	Tx      *bolt.Tx
	handles [store.Buckets]*bolt.Bucket
}

// Bucket returns a bucket of the transaction.
func (b *Base) Bucket(of store.Bucket) *bolt.Bucket {
	if b.handles[of] == nil {
		b.handles[of] = of.Writable(b.Tx)
		if b.handles[of] == nil {
			Fail(frame.ErrDamaged)
		}
	}
	return b.handles[of]
}

// Writes is what one command writes. The zero value is empty. It must not be copied while
// both copies are used.
type Writes struct {
	values [store.Buckets]map[string]write
	keys   [store.Buckets]keyset.Set // of values
}

// write is the last write to one key.
type write struct {
	value []byte // nil deletes
	fresh bool   // the base has nothing under the key
}

// Clear empties it; small memory is used again.
func (w *Writes) Clear() {
	for i, m := range w.values {
		w.keys[i].Clear()
		if len(m) > 64 {
			w.values[i] = nil
			continue
		}
		clear(m)
	}
}

// Value returns what is stored under the key once w is in the base, or nil.
func (w *Writes) Value(base *Base, b store.Bucket, key []byte) []byte {
	if v, ok := w.values[b][string(key)]; ok {
		return v.value
	}
	return base.Bucket(b).Get(key)
}

// Write stores a value under the key; nil deletes.
func (w *Writes) Write(b store.Bucket, key, value []byte) { w.write(b, key, value, false) }

// Create is Write under a key for which Value has just returned nil: the base need not be asked
// again.
func (w *Writes) Create(b store.Bucket, key, value []byte) { w.write(b, key, value, true) }

func (w *Writes) write(b store.Bucket, key, value []byte, absent bool) {
	if w.values[b] == nil {
		w.values[b] = map[string]write{}
	}
	k := string(key)
	last, ok := w.values[b][k]
	if !ok {
		w.keys[b].Add(k)
	}
	// After a delete Value is nil although the base has something.
	w.values[b][k] = write{value: value, fresh: last.fresh || (absent && !ok)}
}

// Scan returns the keys that begin with the prefix, in order.
func (w *Writes) Scan(base *Base, b store.Bucket, prefix []byte) [][]byte {
	var keys [][]byte
	c := base.Bucket(b).Cursor()
	for k, _ := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		if _, ok := w.values[b][string(k)]; !ok {
			keys = append(keys, bytes.Clone(k))
		}
	}
	for k := range w.keys[b].With(string(prefix)) { // sorted below
		if w.values[b][k].value != nil {
			keys = append(keys, []byte(k))
		}
	}
	slices.SortFunc(keys, bytes.Compare)
	return keys
}

// First is the first key that begins with the prefix, nil if none does.
func (w *Writes) First(base *Base, b store.Bucket, prefix []byte) (first []byte) {
	c := base.Bucket(b).Cursor()
	for k, _ := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		if _, ok := w.values[b][string(k)]; !ok {
			first = bytes.Clone(k)
			break
		}
	}
	for k := range w.keys[b].With(string(prefix)) { // a minimum has no order
		if w.values[b][k].value != nil && (first == nil || k < string(first)) {
			first = []byte(k)
		}
	}
	return first
}

// Flush moves all writes into the base in key order, keeps the hash up to date and tells of
// each of them.
func (w *Writes) Flush(base *Base, hash *frame.Hash, tell func(of store.Bucket, key, value []byte)) {
	for i, values := range w.values {
		if len(values) == 0 {
			continue
		}
		of := store.Bucket(i)
		for _, k := range slices.Sorted(maps.Keys(values)) {
			key, v := []byte(k), values[k]
			if move(base.Bucket(of), of, key, v, hash) {
				tell(of, key, v.value)
			}
		}
	}
}

// move stores one value, or deletes what there is, and says whether that was something.
func move(in *bolt.Bucket, of store.Bucket, key []byte, w write, hash *frame.Hash) bool {
	var old []byte
	if !w.fresh {
		old = in.Get(key)
	}
	value := w.value
	if old == nil && value == nil {
		return false
	}
	if old != nil {
		if _, err := frame.Parse(key, old); err != nil {
			Fail(err)
		}
		*hash = hash.Minus(frame.HashOf(byte(of), key, old))
	}
	var err error
	if value == nil {
		err = in.Delete(key)
	} else {
		*hash = hash.Plus(frame.HashOf(byte(of), key, value))
		err = in.Put(key, value)
	}
	if err != nil {
		Fail(err)
	}
	return true
}
