// Package audit is the log of changes by people: how an entry is stored and found.
package audit

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// Key is the key of the entry with the number i among those of one Raft index: the newest
// entry is the last.
func Key(index uint64, i int) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, index), uint32(i))
}

// Query selects audit entries, the newest first. Zero fields select all.
type Query struct {
	Limit  int    // of the page; 0: 50
	Cursor string // next of the page before
	Kind   string // of the record
	ID     string // of the record
	Actor  string // "master", "key/ID", "file"
}

// Find returns a page of audit entries and the cursor of the next, "" after the last.
func Find(tx *bolt.Tx, q Query) (items []resource.AuditEntry, next string, err error) {
	if q.Limit <= 0 {
		q.Limit = 50
	}
	from, err := hex.DecodeString(q.Cursor)
	if err != nil {
		return nil, "", nil //nolint:nilerr // nothing follows what is no cursor
	}
	c := store.Audit.In(tx).Cursor()
	k, v := before(c, from)
	for ; k != nil; k, v = c.Prev() {
		e, err := parse(k, v)
		if err != nil {
			return nil, "", err
		}
		if !q.matches(&e) {
			continue
		}
		items = append(items, e)
		if len(items) == q.Limit {
			last := hex.EncodeToString(k)
			if more, _ := c.Prev(); more != nil {
				next = last
			}
			break
		}
	}
	return items, next, nil
}

// before moves c to the entry before the one of the cursor, to the last without a cursor.
func before(c *bolt.Cursor, from []byte) (k, v []byte) {
	if len(from) > 0 {
		if at, _ := c.Seek(from); at != nil {
			return c.Prev()
		}
	}
	return c.Last()
}

func (q Query) matches(e *resource.AuditEntry) bool {
	return (q.Kind == "" || q.Kind == e.Kind) && (q.ID == "" || q.ID == e.ID) && (q.Actor == "" || q.Actor == e.Actor)
}

func parse(k, v []byte) (resource.AuditEntry, error) {
	var e resource.AuditEntry
	f, err := frame.Parse(k, v)
	if err != nil {
		return e, err
	}
	if err := codec.Unmarshal(f.Payload, &e); err != nil {
		return e, fmt.Errorf("decode audit entry: %w: %w", err, frame.ErrDamaged)
	}
	return e, nil
}
