// Package audit is the log of what people did: how an entry is made, stored, chained, found,
// pruned and verified. DESIGN.md of fsm has the layouts.
package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// Entry is an entry as it is encoded, hashed and stored: resource.AuditEntry without its
// hashes, with the documents in CBOR, of which secrets are left out.
type Entry struct {
	Number    uint64        `json:"number"`
	Index     uint64        `json:"index"`
	At        resource.Time `json:"at"`
	Since     resource.Time `json:"since,omitempty"`
	Actor     string        `json:"actor,omitempty"`
	For       string        `json:"for,omitempty"`
	Address   string        `json:"address,omitempty"`
	Action    string        `json:"action"`
	Kind      string        `json:"kind,omitempty"`
	ID        string        `json:"id,omitempty"`
	Name      string        `json:"name,omitempty"`
	Outcome   string        `json:"outcome,omitempty"`
	Count     uint64        `json:"count,omitempty"`
	Version   uint64        `json:"version,omitempty"`
	Fields    []string      `json:"fields,omitempty"`
	Before    codec.Raw     `json:"before,omitempty"`
	After     codec.Raw     `json:"after,omitempty"`
	RequestID string        `json:"request_id,omitempty"`
}

// Key is the key of the entry with the number.
func Key(number uint64) []byte { return binary.BigEndian.AppendUint64(nil, number) }

// ID is the id of the entry with the number.
func ID(number uint64) string { return strconv.FormatUint(number, 10) }

// Head is the newest entry; the zero value is that of an empty log.
type Head struct {
	Number uint64
	Hash   resource.Hash
}

// HeadOf reads the newest entry of the file.
func HeadOf(tx *bolt.Tx) (Head, error) {
	_, last, err := bounds(tx)
	if err != nil || last == 0 {
		return Head{}, err
	}
	e, err := read(tx, last)
	return Head{Number: last, Hash: e.hash}, err
}

// link is the hash of an entry whose encoding is body.
func link(previous resource.Hash, body []byte) resource.Hash {
	b := make([]byte, 0, len(previous)+len(body))
	return sha256.Sum256(append(append(b, previous[:]...), body...))
}

// Append numbers, chains and stores entries behind the head, and returns the new one.
func Append(rows store.Rows, h Head, entries []Entry) (Head, error) {
	for i := range entries {
		e := &entries[i]
		h.Number++
		e.Number = h.Number
		payload := append(make([]byte, 0, len(h.Hash)+e.size()), h.Hash[:]...)
		payload = e.append(payload)
		h.Hash = sha256.Sum256(payload)
		copy(payload, h.Hash[:])
		rows.Create(store.Audit, Key(h.Number), payload)
		if h.Number%blockSize == 0 {
			if err := summarize(rows, block(h.Number)); err != nil {
				return h, err
			}
		}
	}
	return h, nil
}

// stored is an entry as it lies in the file.
type stored struct {
	number uint64
	hash   resource.Hash
	body   []byte // part of the transaction's memory
}

func split(key []byte, v frame.Value) (stored, error) {
	var s stored
	if len(key) != 8 || len(v.Payload) < len(s.hash)+1 {
		return s, fmt.Errorf("audit entry %x of %d bytes: %w", key, len(v.Payload), frame.ErrDamaged)
	}
	s.number = binary.BigEndian.Uint64(key)
	copy(s.hash[:], v.Payload)
	s.body = v.Payload[len(s.hash):]
	return s, nil
}

// decode reads the encoding of an entry.
func decode(body []byte) (Entry, error) {
	var e Entry
	if err := codec.Unmarshal(body, &e); err != nil {
		return e, fmt.Errorf("decode audit entry: %w: %w", err, frame.ErrDamaged)
	}
	return e, nil
}

// show gives the entry as people read it.
func (s stored) show(previous resource.Hash) (resource.AuditEntry, error) {
	e, err := decode(s.body)
	if err != nil {
		return resource.AuditEntry{}, err
	}
	out := e.shown()
	out.Previous, out.Hash = previous, s.hash
	return out, nil
}

func (e *Entry) shown() resource.AuditEntry {
	return resource.AuditEntry{
		Number: e.Number, Index: e.Index, At: e.At, Since: e.Since, Actor: e.Actor, For: e.For, Address: e.Address,
		Action: e.Action, Kind: e.Kind, ID: e.ID, Name: e.Name, Outcome: e.Outcome, Count: e.Count,
		Version: e.Version, Fields: e.Fields, RequestID: e.RequestID,
		Before: render(e.Kind, e.Before), After: render(e.Kind, e.After),
	}
}

// EntryOf makes the entry of an event.
func EntryOf(e resource.AuditEvent) Entry {
	return Entry{
		Since: e.At, Actor: e.Actor, For: e.For, Address: e.Address, Action: e.Action, Kind: e.Kind, ID: e.ID,
		Outcome: e.Outcome, Count: e.Count, RequestID: e.RequestID,
	}
}
