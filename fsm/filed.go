package fsm

import (
	"bytes"
	"context"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/overlay"
	"github.com/conclave-llm/conclave/fsm/store"
)

// What follows is about records that memory does not hold, because they are many: they are read from
// the file when somebody asks.

// parse decodes such a record.
func parse[T any](b store.Bucket, f frame.Value) (*T, error) {
	r := new(T)
	if err := codec.Unmarshal(f.Payload, r); err != nil {
		return nil, fmt.Errorf("decode %s: %w: %w", b.Kind(), err, frame.ErrDamaged)
	}
	return r, nil
}

// marshal encodes such a record that a command has made or changed.
func marshal[T any](r *T) []byte {
	b, err := codec.Marshal(*r)
	if err != nil {
		overlay.Fail(err)
	}
	return b
}

// filed returns a record, as the command sees it, and its version.
func filed[T any](tx *Tx, b store.Bucket, id string) (*T, uint64, bool) {
	f, ok := tx.get(b, []byte(id))
	if !ok {
		return nil, 0, false
	}
	r, err := parse[T](b, f)
	if err != nil {
		overlay.Fail(err)
	}
	return r, f.Version, true
}

// readFiled returns a record as it is applied, and its version.
func readFiled[T any](f *FSM, b store.Bucket, id string) (r *T, version uint64, ok bool) {
	f.view(func(tx *bolt.Tx) error {
		v, found, err := b.Read(tx, []byte(id))
		if err != nil || !found {
			return err
		}
		r, err = parse[T](b, v)
		version, ok = v.Version, err == nil
		return err
	})
	return r, version, ok
}

// scanFiled returns those of at most scan records behind the id that match, in the order of their
// ids, and the last id that was looked at: "" says that there are no more. "" begins.
func scanFiled[T any](f *FSM, b store.Bucket, after string, scan int, match func(*T) bool) (all []*T, last string) {
	f.view(func(tx *bolt.Tx) error {
		c := b.In(tx).Cursor()
		seen := 0
		for k, v := c.Seek([]byte(after)); k != nil; k, v = c.Next() {
			if bytes.Equal(k, []byte(after)) {
				continue
			}
			if seen == scan {
				return nil
			}
			seen++
			value, err := frame.Parse(k, v)
			if err != nil {
				return err
			}
			r, err := parse[T](b, value)
			if err != nil {
				return err
			}
			if last = string(k); match(r) {
				all = append(all, r)
			}
		}
		last = ""
		return nil
	})
	return all, last
}

// scanSize is how many records EachPage looks at in one read of the state.
const scanSize = 4096

// EachPage calls do with the records that match, at most so many at once, until there are no more,
// do returns an error or ctx ends. read is Responses or Artifacts.
func EachPage[T any](
	ctx context.Context, read func(after string, scan int, match func(*T) bool) ([]*T, string), most int,
	match func(*T) bool, do func([]*T) error,
) error {
	for after := ""; ctx.Err() == nil; {
		found, last := read(after, scanSize, match)
		for len(found) > 0 {
			n := min(len(found), most)
			if err := do(found[:n]); err != nil {
				return err
			}
			found = found[n:]
		}
		if last == "" {
			return nil
		}
		after = last
	}
	return ctx.Err()
}
