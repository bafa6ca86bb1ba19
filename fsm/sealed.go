package fsm

import (
	"bytes"
	"fmt"
	"reflect"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/overlay"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// sealedPage is how many records of a kind are read in one transaction.
const sealedPage = 500

// Sealing is a record with sealed secrets.
type Sealing interface {
	EachSealed(visit func(field string, s *resource.Sealed) *resource.Sealed)
}

// SealedRecord is one of them, with what its secrets are bound to.
type SealedRecord struct {
	Kind, ID string
	Sealing
}

// sealedRow is one kind of records with sealed secrets.
type sealedRow struct {
	bucket store.Bucket
	typ    reflect.Type
	decode func(f frame.Value) (Sealing, error)
	encode func(s Sealing) []byte
}

// sealedRows is the one table of what an exchange of the data key seals anew. A stored record type
// with a resource.Sealed in it that is missing here keeps the old data key for ever, which
// TestSealed_everyKind refuses.
var sealedRows = []sealedRow{
	sealedRecord[resource.Credential](store.Credentials),
	sealedRecord[resource.Deployment](store.Deployments),
	sealedRecord[resource.MCPServer](store.MCPServers),
	sealedRecord[resource.PassThroughEndpoint](store.PassThrough),
	sealedRecord[resource.Guardrail](store.Guardrails),
	sealedRecord[resource.Callback](store.Callbacks),
	sealedRecord[resource.SecretSource](store.SecretSources),
	sealedRecord[resource.RouterFilter](store.RouterFilters),
	sealedRecord[resource.Auth](store.Auths),
	sealedRecord[resource.Variable](store.Variables),
	sealedRecord[resource.Key](store.Keys),
	{
		bucket: store.MCPTokens, typ: reflect.TypeFor[resource.MCPToken](),
		decode: func(f frame.Value) (Sealing, error) { return parse[resource.MCPToken](store.MCPTokens, f) },
		encode: func(s Sealing) []byte { return marshal(s.(*resource.MCPToken)) },
	},
}

// sealedRecord is the row of records that the catalog or the keys' index have.
func sealedRecord[T any, P interface {
	codec.Canonicalizer[T]
	Sealing
}](b store.Bucket) sealedRow {
	return sealedRow{
		bucket: b, typ: reflect.TypeFor[T](),
		decode: func(f frame.Value) (Sealing, error) { return codec.Record[T, P](f) },
		encode: func(s Sealing) []byte { return marshal((*T)(s.(P))) },
	}
}

func sealedKind(kind string) (*sealedRow, bool) {
	for i := range sealedRows {
		if sealedRows[i].bucket.Kind() == kind {
			return &sealedRows[i], true
		}
	}
	return nil, false
}

// reseal replaces one secret of a record. Its version stays, if it is the same secret: who edits the record meanwhile, or
// acts with it, is not disturbed. With another secret it is another version: whoever has read the old one would put
// that back, a refresh token that was used.
func (r *sealedRow) reseal(tx *Tx, it Resealed) {
	f, ok := tx.get(r.bucket, []byte(it.ID))
	if !ok {
		return
	}
	rec, err := r.decode(f)
	if err != nil {
		overlay.Fail(err)
	}
	changed := false
	rec.EachSealed(func(field string, s *resource.Sealed) *resource.Sealed {
		if field != it.Field || !bytes.Equal(s.Box, it.Old) {
			return s
		}
		changed = true
		if s.Fingerprint != it.Sealed.Fingerprint {
			f.Version = tx.Index
		}
		return it.Sealed
	})
	if !changed {
		return
	}
	f.Payload = r.encode(rec)
	tx.putFrame(r.bucket, []byte(it.ID), f)
	tx.wrote = true
}

// Apply implements Command.
func (c Reseal) Apply(tx *Tx) error {
	for _, it := range c.Items {
		if it.Sealed == nil {
			return &resource.Invalid{Field: "sealed", Reason: "is missing"}
		}
		row, ok := sealedKind(it.Kind)
		if !ok {
			return &resource.Invalid{Field: "kind", Reason: fmt.Sprintf("%q holds no secrets", it.Kind)}
		}
		row.reseal(tx, it)
	}
	return nil
}

// EachSealed visits every record that may hold sealed secrets, a page of one kind at a time, until
// visit returns false. A record that is written meanwhile is seen as it was or as it is.
func (f *FSM) EachSealed(visit func(SealedRecord) bool) {
	for i := range sealedRows {
		row := &sealedRows[i]
		for after, more := []byte(nil), true; more; {
			var page []SealedRecord
			page, after, more = f.sealedPage(row, after)
			for _, rec := range page {
				if !visit(rec) {
					return
				}
			}
		}
	}
}

// sealedPage reads the records behind an id, and says whether there may be more.
func (f *FSM) sealedPage(row *sealedRow, after []byte) (page []SealedRecord, last []byte, more bool) {
	f.view(func(tx *bolt.Tx) error {
		c := row.bucket.In(tx).Cursor()
		seen := 0
		for k, v := c.Seek(after); k != nil; k, v = c.Next() {
			if bytes.Equal(k, after) {
				continue
			}
			if seen == sealedPage {
				more = true
				return nil
			}
			seen++
			last = bytes.Clone(k)
			value, err := frame.Parse(k, v)
			if err != nil {
				return err
			}
			rec, err := row.decode(value)
			if err != nil {
				return err
			}
			page = append(page, SealedRecord{Kind: row.bucket.Kind(), ID: string(k), Sealing: rec})
		}
		return nil
	})
	return page, last, more
}
