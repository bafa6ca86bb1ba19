package fsm

import (
	"bytes"
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/keyset"
	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/fsm/progress"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// Tx is what a command reads and changes. Its changes lie in an overlay: they reach the
// batch's transaction in key order if the command is accepted, and are dropped if it is
// refused. Its methods return no I/O error; the first one ends the batch and the node.
type Tx struct {
	Now    resource.Time // of the entry; it never runs back
	Index  uint64        // of the entry; the version of what is written
	Actor  Actor
	b      *batch
	writes overlay
	keys   [store.Buckets]keyset.Set // of writes
	audits []audit.Entry
	env    *Envelope
	kind   Kind        // of the command, or of the item of a Batch
	wrote  bool        // a record was written
	epoch  bool        // an epoch was opened or closed
	nodes  money.Nodes // read once for each command
	passed []SoftLimit
}

// overlay is what a command writes, by bucket; a nil value deletes.
type overlay [store.Buckets]map[string][]byte

// clear empties the overlay; small maps are used again.
func (o *overlay) clear() {
	for i, m := range o {
		if len(m) > 64 {
			o[i] = nil
			continue
		}
		clear(m)
	}
}

// ioFailure carries the first I/O error from a Tx method up to ApplyBatch.
type ioFailure struct{ err error }

// fail ends the batch.
func fail(err error) { panic(ioFailure{err}) }

// raw returns the stored bytes, or nil.
func (tx *Tx) raw(b store.Bucket, key []byte) []byte {
	if v, ok := tx.writes[b][string(key)]; ok {
		return v
	}
	return tx.b.bucket(b).Get(key)
}

// get returns the verified frame under the key. Its payload must not be changed or kept.
func (tx *Tx) get(b store.Bucket, key []byte) (frame.Value, bool) {
	v := tx.raw(b, key)
	if v == nil {
		return frame.Value{}, false
	}
	f, err := frame.Parse(key, v)
	if err != nil {
		fail(err)
	}
	return f, true
}

// put stores a payload under the key, with the entry's index as its version.
func (tx *Tx) put(b store.Bucket, key, payload []byte) {
	tx.putFrame(b, key, frame.Value{Version: tx.Index, Payload: payload})
}

func (tx *Tx) putFrame(b store.Bucket, key []byte, f frame.Value) {
	tx.write(b, key, f.Encode(key))
}

func (tx *Tx) delete(b store.Bucket, key []byte) { tx.write(b, key, nil) }

func (tx *Tx) write(b store.Bucket, key, value []byte) {
	if tx.writes[b] == nil {
		tx.writes[b] = map[string][]byte{}
	}
	if _, ok := tx.writes[b][string(key)]; !ok {
		tx.keys[b].Add(string(key))
	}
	tx.writes[b][string(key)] = value
}

// rows is the transaction as the packages below take it.
type rows struct{ tx *Tx }

func (r rows) Value(b store.Bucket, key []byte) (frame.Value, bool) { return r.tx.get(b, key) }
func (r rows) Put(b store.Bucket, key, payload []byte)              { r.tx.put(b, key, payload) }
func (r rows) Delete(b store.Bucket, key []byte)                    { r.tx.delete(b, key) }

// scan returns the keys that begin with the prefix, in order.
func (tx *Tx) scan(b store.Bucket, prefix []byte) [][]byte {
	var keys [][]byte
	c := tx.b.bucket(b).Cursor()
	for k, _ := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		if _, ok := tx.writes[b][string(k)]; !ok {
			keys = append(keys, bytes.Clone(k))
		}
	}
	for k := range tx.keys[b].With(string(prefix)) { // sorted below
		if tx.writes[b][k] != nil {
			keys = append(keys, []byte(k))
		}
	}
	slices.SortFunc(keys, bytes.Compare)
	return keys
}

// any says whether a key begins with the prefix.
func (tx *Tx) any(b store.Bucket, prefix []byte) bool {
	for k := range tx.keys[b].With(string(prefix)) { // only whether one is there reaches the output
		if tx.writes[b][k] != nil {
			return true
		}
	}
	c := tx.b.bucket(b).Cursor()
	for k, _ := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		if _, ok := tx.writes[b][string(k)]; !ok {
			return true
		}
	}
	return false
}

func actorName(a Actor) string {
	if a.ID == "" {
		return a.Kind
	}
	return a.Kind + "/" + a.ID
}

// reset readies the overlay for the next entry.
func (tx *Tx) reset() {
	tx.writes.clear()
	tx.clearKeys()
	tx.audits = tx.audits[:0]
	tx.passed = nil
	tx.nodes, tx.epoch = nil, false
	tx.wrote = false
}

func (tx *Tx) clearKeys() {
	for i := range tx.keys {
		tx.keys[i].Clear()
	}
}

// batch is one transaction of the file and what will be told of it after its commit.
type batch struct {
	f       *FSM
	tx      *bolt.Tx
	handles [store.Buckets]*bolt.Bucket
	pos     store.Position
	changed map[store.Bucket]map[string]bool // keys of changed tables, for memory
	tables  map[string]bool                  // kinds, for the watcher
	spent   map[string][]byte                // accounts' new values by key
	marks   []progress.Mark
	passed  []SoftLimit
	audited *audit.Head // the newest entry; nil: not looked up yet
}

func (b *batch) bucket(of store.Bucket) *bolt.Bucket {
	if b.handles[of] == nil {
		b.handles[of] = of.In(b.tx)
		if b.handles[of] == nil {
			fail(frame.ErrDamaged)
		}
	}
	return b.handles[of]
}

// flush moves the overlay into the transaction in key order and keeps the hash up to date.
func (b *batch) flush(tx *Tx) {
	for of, writes := range tx.writes {
		if len(writes) == 0 {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(writes)) {
			b.store(store.Bucket(of), []byte(key), writes[key])
		}
	}
}

func (b *batch) store(of store.Bucket, key, value []byte) {
	in := b.bucket(of)
	old := in.Get(key)
	if old == nil && value == nil {
		return
	}
	if old != nil {
		if _, err := frame.Parse(key, old); err != nil {
			fail(err)
		}
		b.pos.Hash = b.pos.Hash.Minus(frame.HashOf(byte(of), key, old))
	}
	var err error
	if value == nil {
		err = in.Delete(key)
	} else {
		b.pos.Hash = b.pos.Hash.Plus(frame.HashOf(byte(of), key, value))
		err = in.Put(key, value)
	}
	if err != nil {
		fail(err)
	}
	b.remember(of, key, value)
}

// remember notes what memory and the watcher must hear of after the commit.
func (b *batch) remember(of store.Bucket, key, value []byte) {
	switch {
	case of == store.Accounts:
		b.spent[string(key)] = value
	case of >= store.Keys || of == store.Nodes || of == store.Cluster:
		m := b.changed[of]
		if m == nil {
			m = map[string]bool{}
			b.changed[of] = m
		}
		m[string(key)] = true
		if of >= store.Keys {
			b.tables[of.Kind()] = true
		}
	}
}
