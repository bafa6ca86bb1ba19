package fsm

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

// putAudit stores the command's audit entry with the number i under index and number.
func (tx *Tx) putAudit(i int) {
	b, err := codec.Marshal(tx.audits[i])
	if err != nil {
		fail(err)
	}
	key := binary.BigEndian.AppendUint64(nil, tx.Index)
	tx.put(store.Audit, binary.BigEndian.AppendUint32(key, uint32(i)), b)
}

// AuditQuery selects audit entries, the newest first. Zero fields select all.
type AuditQuery struct {
	Limit  int    // of the page; 0: 50
	Cursor string // next of the page before
	Kind   string // of the record
	ID     string // of the record
	Actor  string // "master", "key/ID", "file"
}

// Audit returns a page of audit entries and the cursor of the next, "" after the last.
func (f *FSM) Audit(q AuditQuery) (items []resource.AuditEntry, next string) {
	if q.Limit <= 0 {
		q.Limit = 50
	}
	from, err := hex.DecodeString(q.Cursor)
	if err != nil {
		return nil, ""
	}
	f.view(func(tx *bolt.Tx) error {
		c := store.Audit.In(tx).Cursor()
		k, v := before(c, from)
		for ; k != nil; k, v = c.Prev() {
			e, err := parseAudit(k, v)
			if err != nil {
				return err
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
				return nil
			}
		}
		return nil
	})
	return items, next
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

func (q AuditQuery) matches(e *resource.AuditEntry) bool {
	return (q.Kind == "" || q.Kind == e.Kind) && (q.ID == "" || q.ID == e.ID) && (q.Actor == "" || q.Actor == e.Actor)
}

func parseAudit(k, v []byte) (resource.AuditEntry, error) {
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
