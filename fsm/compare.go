package fsm

import (
	"bytes"
	"encoding/json"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/store"
)

// Difference is a record that two backups do not have alike. Secrets are in none of its fields: sealed
// ones are their fingerprints, hashes are left out.
type Difference struct {
	Kind   string          `json:"kind"`
	ID     string          `json:"id"`
	Name   string          `json:"name,omitempty"`
	Change string          `json:"change"`           // "created", "deleted" or "changed", from the first to the second
	Fields []string        `json:"fields,omitempty"` // that differ, of "changed"
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// Differences visits the records that another backup has otherwise, by kind and id. What nodes and
// requests write by themselves (accounts, totals, the audit log, stored responses, blobs) is not compared.
func (b *Backup) Differences(other *Backup, visit func(Difference) error) error {
	return b.aside.View(func(from *bolt.Tx) error {
		return other.aside.View(func(to *bolt.Tx) error {
			for bucket := store.Keys; bucket < store.Buckets; bucket++ {
				if bucket.Name() == "" || !bucket.Cataloged() {
					continue
				}
				if err := compareBucket(bucket, from, to, visit); err != nil {
					return fmt.Errorf("compare %s: %w", bucket.Name(), err)
				}
			}
			return nil
		})
	})
}

// compareBucket goes through both buckets in the order of their keys.
func compareBucket(b store.Bucket, from, to *bolt.Tx, visit func(Difference) error) error {
	old, next := b.In(from).Cursor(), b.In(to).Cursor()
	k1, v1 := old.First()
	k2, v2 := next.First()
	for k1 != nil || k2 != nil {
		order := bytes.Compare(k1, k2)
		if k1 == nil {
			order = 1
		} else if k2 == nil {
			order = -1
		}
		var err error
		switch {
		case order < 0:
			err = differs(b, k1, v1, nil, visit)
			k1, v1 = old.Next()
		case order > 0:
			err = differs(b, k2, nil, v2, visit)
			k2, v2 = next.Next()
		default:
			if !bytes.Equal(v1, v2) {
				err = differs(b, k1, v1, v2, visit)
			}
			k1, v1 = old.Next()
			k2, v2 = next.Next()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// differs tells of one record; either value may be nil.
func differs(b store.Bucket, key, from, to []byte, visit func(Difference) error) error {
	old, err := parsed(key, from)
	if err != nil {
		return err
	}
	next, err := parsed(key, to)
	if err != nil {
		return err
	}
	d := Difference{Kind: b.Kind(), ID: string(key), Change: "changed", Name: audit.NameOf(next.Payload)}
	switch {
	case from == nil:
		d.Change = "created"
	case to == nil:
		d.Change, d.Name = "deleted", audit.NameOf(old.Payload)
	}
	if d.Fields, d.Before, d.After, err = audit.DiffJSON(d.Kind, old.Payload, next.Payload); err != nil {
		return fmt.Errorf("%s: %w", d.ID, err)
	}
	if d.Change == "changed" {
		if was, is := old.Flags&frame.FlagBlocked != 0, next.Flags&frame.FlagBlocked != 0; was != is {
			d.Fields = append(d.Fields, "blocked")
		}
		if len(d.Fields) == 0 {
			return nil // written again as it was
		}
	}
	return visit(d)
}

func parsed(key, value []byte) (frame.Value, error) {
	if value == nil {
		return frame.Value{}, nil
	}
	return frame.Parse(key, value)
}

// Count is how much of a kind a backup holds.
type Count struct {
	Kind    string `json:"kind"`
	Records int64  `json:"records"`
	Bytes   int64  `json:"bytes"`
}

// Counts tells how much there is of each kind, without a word of what.
func (b *Backup) Counts() (all []Count, err error) {
	err = b.aside.View(func(tx *bolt.Tx) error {
		for bucket := range store.Bucket(store.Buckets) {
			if bucket.Name() == "" {
				continue
			}
			c := Count{Kind: bucket.Name()}
			err := bucket.In(tx).ForEach(func(k, v []byte) error {
				c.Records++
				c.Bytes += int64(len(k) + len(v))
				return nil
			})
			if err != nil {
				return err
			}
			if c.Records > 0 {
				all = append(all, c)
			}
		}
		return nil
	})
	return all, err
}
