package fsm

import (
	"bytes"

	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/fsm/money"
	"github.com/conclave-llm/conclave/fsm/overlay"
	"github.com/conclave-llm/conclave/fsm/progress"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/delegate"
)

// Tx is what a command reads and changes. Its changes lie in an overlay: they reach the
// batch's transaction in key order if the command is accepted, and are dropped if it is
// refused. Its methods return no I/O error; the first one ends the batch and the node.
type Tx struct {
	Now    resource.Time // of the entry; it never runs back
	Index  uint64        // of the entry; the version of what is written
	Actor  Actor
	b      *batch
	writes overlay.Writes
	audits []audit.Entry
	env    *Envelope
	kind   Kind           // of the command, or of the item of a Batch
	wrote  bool           // a record was written
	epoch  bool           // an epoch was opened or closed
	told   bool           // what a node changes is an entry of the audit log, too
	nodes  money.Nodes    // read once for each command
	master *resource.Hash // of the master key; the same
	passed []SoftLimit
	// delegate is who acts, if it is a person who manages a part of the cluster only.
	delegate *delegate.Delegate
	asFile   bool            // the entry's later items write what the file owns
	taken    map[string]bool // "kind/id" of records whose owner the entry may replace
}

// raw returns the stored bytes, or nil.
func (tx *Tx) raw(b store.Bucket, key []byte) []byte { return tx.writes.Value(tx.b.base, b, key) }

// get returns the verified frame under the key. Its payload must not be changed or kept.
func (tx *Tx) get(b store.Bucket, key []byte) (frame.Value, bool) {
	v := tx.raw(b, key)
	if v == nil {
		return frame.Value{}, false
	}
	f, err := frame.Parse(key, v)
	if err != nil {
		overlay.Fail(err)
	}
	return f, true
}

// put stores a payload under the key, with the entry's index as its version.
func (tx *Tx) put(b store.Bucket, key, payload []byte) {
	tx.putFrame(b, key, frame.Value{Version: tx.Index, Payload: payload})
}

func (tx *Tx) putFrame(b store.Bucket, key []byte, f frame.Value) {
	tx.writes.Write(b, key, f.Encode(key))
}

// create is put under a key that the caller has just found to have nothing.
func (tx *Tx) create(b store.Bucket, key, payload []byte) {
	tx.writes.Create(b, key, frame.Value{Version: tx.Index, Payload: payload}.Encode(key))
}

func (tx *Tx) delete(b store.Bucket, key []byte) { tx.writes.Write(b, key, nil) }

// rows is the transaction as the packages below take it.
type rows struct{ tx *Tx }

func (r rows) Value(b store.Bucket, key []byte) (frame.Value, bool) { return r.tx.get(b, key) }
func (r rows) Put(b store.Bucket, key, payload []byte)              { r.tx.put(b, key, payload) }
func (r rows) Create(b store.Bucket, key, payload []byte)           { r.tx.create(b, key, payload) }
func (r rows) Delete(b store.Bucket, key []byte)                    { r.tx.delete(b, key) }

// scan returns the keys that begin with the prefix, in order.
func (tx *Tx) scan(b store.Bucket, prefix []byte) [][]byte {
	return tx.writes.Scan(tx.b.base, b, prefix)
}

// first is the first key that begins with the prefix, nil if none does.
func (tx *Tx) first(b store.Bucket, prefix []byte) []byte {
	return tx.writes.First(tx.b.base, b, prefix)
}

func actorName(a Actor) string {
	if a.ID == "" {
		return a.Kind
	}
	return a.Kind + "/" + a.ID
}

// reset readies the overlay for the next entry.
func (tx *Tx) reset() {
	tx.writes.Clear()
	tx.audits = tx.audits[:0]
	tx.passed = nil
	tx.nodes, tx.master, tx.epoch = nil, nil, false
	tx.wrote, tx.told = false, false
	tx.asFile, tx.taken = false, nil
}

// batch is one transaction of the file and what will be told of it after its commit.
type batch struct {
	f       *FSM
	base    *overlay.Base
	pos     store.Position
	changed map[store.Bucket]map[string][]byte // new values of changed tables by key, for memory
	tables  map[string]bool                    // kinds, for the watcher
	spent   map[string][]byte                  // accounts' new values by key
	marks   []progress.Mark
	passed  []SoftLimit
	audited *audit.Head // the newest entry; nil: not looked up yet
}

// remember notes what memory and the watcher must hear of after the commit.
func (b *batch) remember(of store.Bucket, key, value []byte) {
	switch {
	case of == store.Accounts:
		b.spent[string(key)] = value
	case of == store.Erasures || of == store.Alerts: // are read from the file
		b.tables[of.Kind()] = true
	case of.Cataloged() || of == store.Nodes || of == store.Cluster:
		m := b.changed[of]
		if m == nil {
			m = map[string][]byte{}
			b.changed[of] = m
		}
		m[string(key)] = value
		if of.Cataloged() {
			b.tables[of.Kind()] = true
		}
		if of == store.Cluster && bytes.Equal(key, memory.InfoKey) {
			b.tables["cluster"] = true
		}
	}
}
