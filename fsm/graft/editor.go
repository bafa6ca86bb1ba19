package graft

import (
	"bytes"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/store"
)

// editor changes a state outside of any log and keeps its hash right.
type editor struct {
	tx    *bolt.Tx
	pos   store.Position
	index uint64 // version of what is written
}

func edit(tx *bolt.Tx) (*editor, error) {
	pos, err := store.ReadPosition(tx)
	return &editor{tx: tx, pos: pos, index: pos.Index}, err
}

// done writes the position.
func (e *editor) done() error { return store.WritePosition(e.tx, e.pos) }

// set stores framed bytes, or deletes the key if they are nil.
func (e *editor) set(b store.Bucket, key, value []byte) error {
	in := b.In(e.tx)
	if old := in.Get(key); old != nil {
		e.pos.Hash = e.pos.Hash.Minus(frame.HashOf(byte(b), key, old))
	}
	if value == nil {
		return in.Delete(key)
	}
	e.pos.Hash = e.pos.Hash.Plus(frame.HashOf(byte(b), key, value))
	return in.Put(key, value)
}

func (e *editor) put(b store.Bucket, key, payload []byte) error {
	return e.set(b, key, frame.Value{Version: e.index, Payload: payload}.Encode(key))
}

func (e *editor) putRecord(b store.Bucket, key []byte, record any) error {
	payload, err := codec.Marshal(record)
	if err != nil {
		return err
	}
	return e.put(b, key, payload)
}

// copy takes one value over as it is.
func (e *editor) copy(b store.Bucket, key []byte, from *bolt.Tx) error {
	return e.set(b, key, bytes.Clone(b.In(from).Get(key)))
}

// replace takes a whole bucket over.
func (e *editor) replace(b store.Bucket, from *bolt.Tx) error { return e.replacePrefix(b, nil, from) }

// replacePrefix takes over what lies under the keys that begin with the prefix.
func (e *editor) replacePrefix(b store.Bucket, prefix []byte, from *bolt.Tx) error {
	var old [][]byte // a bucket must not change under its cursor
	c := b.In(e.tx).Cursor()
	for k, _ := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		if b.In(from).Get(k) == nil {
			old = append(old, bytes.Clone(k))
		}
	}
	for _, k := range old {
		if err := e.set(b, k, nil); err != nil {
			return err
		}
	}
	c = b.In(from).Cursor()
	for k, v := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
		if _, err := frame.Parse(k, v); err != nil {
			return err
		}
		if bytes.Equal(b.In(e.tx).Get(k), v) {
			continue
		}
		if err := e.set(b, bytes.Clone(k), bytes.Clone(v)); err != nil {
			return err
		}
	}
	return nil
}

// each calls fn for every verified value of a bucket.
func each(tx *bolt.Tx, b store.Bucket, fn func(key []byte, v frame.Value) error) error {
	return b.In(tx).ForEach(func(k, raw []byte) error {
		v, err := frame.Parse(k, raw)
		if err != nil {
			return err
		}
		return fn(k, v)
	})
}
