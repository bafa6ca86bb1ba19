package audit_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// file has entries of the indexes 1 to 7 in the audit bucket; odd ones are of key k1.
func file(t *testing.T) *bolt.DB {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, &bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	err = db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte(store.Audit.Name()))
		for i := uint64(1); err == nil && i <= 7; i++ {
			e := resource.AuditEntry{Index: i, Kind: "key", ID: []string{"k0", "k1"}[i%2], Actor: "master"}
			raw, merr := codec.Marshal(e)
			key := audit.Key(i, 0)
			err = errors.Join(merr, b.Put(key, frame.Value{Version: i, Payload: raw}.Encode(key)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func TestFind(t *testing.T) {
	t.Parallel()
	db := file(t)
	for _, tt := range []struct {
		name string
		q    audit.Query
		want []uint64
		more bool
	}{
		{"a page", audit.Query{Limit: 2}, []uint64{7, 6}, true},
		{"of one record", audit.Query{Kind: "key", ID: "k1"}, []uint64{7, 5, 3, 1}, false},
		{"of nobody", audit.Query{Actor: "file"}, nil, false},
		{"no cursor", audit.Query{Cursor: "?"}, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []uint64
			var next string
			err := db.View(func(tx *bolt.Tx) error {
				items, n, err := audit.Find(tx, tt.q)
				for _, e := range items {
					got = append(got, e.Index)
				}
				next = n
				return err
			})
			if d := cmp.Diff(tt.want, got); d != "" || err != nil || (next != "") != tt.more {
				t.Errorf("next %q (%v), indexes differ (-want +got):\n%s", next, err, d)
			}
		})
	}
}
