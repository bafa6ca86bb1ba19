package records

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// MaxBulk is how many records one call may write: they are one entry of the log, which every
// node applies in one piece.
const MaxBulk = 10_000

// maxBulkEntry bounds the items of that entry, with room for what is around them.
const maxBulkEntry = fsm.MaxEntry - 64<<10

// ItemError says which of several documents is the wrong one.
type ItemError struct {
	Index int // from 0
	Err   error
}

// Error implements error.
func (e *ItemError) Error() string { return fmt.Sprintf("[%d]: %v", e.Index, e.Err) }

// Unwrap gives what is wrong with it.
func (e *ItemError) Unwrap() error { return e.Err }

// Existing says what CreateKeys does with a document whose name a key has already.
type Existing uint8

// The zero value of Existing refuses all of the documents.
const (
	RefuseExisting Existing = iota
	SkipExisting
)

// ParseDocuments reads a JSON array of objects, or lines of one object each; empty lines do
// not count.
func ParseDocuments(body []byte) ([]Document, error) {
	raw, err := split(bytes.TrimSpace(body))
	if err != nil {
		return nil, err
	}
	if len(raw) == 0 || len(raw) > MaxBulk {
		return nil, invalid("body", fmt.Sprintf("has %d records; a call takes 1 to %d", len(raw), MaxBulk))
	}
	docs := make([]Document, len(raw))
	for i, b := range raw {
		if docs[i], err = ParseDocument(b); err != nil {
			return nil, &ItemError{i, err}
		}
	}
	return docs, nil
}

func split(body []byte) ([]jsontext.Value, error) {
	var raw []jsontext.Value
	if len(body) == 0 || body[0] != '[' {
		for line := range bytes.Lines(body) {
			if line = bytes.TrimSpace(line); len(line) > 0 {
				raw = append(raw, line)
			}
		}
		return raw, nil
	}
	if err := jsonv2.Unmarshal(body, &raw, jsontext.AllowDuplicateNames(true)); err != nil {
		return nil, invalid("body", "is neither a JSON array nor lines of JSON objects: "+reasonOf(err))
	}
	return raw, nil
}

// CreateKeys makes a key of each document, all or none, in one entry. The answer has their
// order. An error about one of them is an *ItemError.
func (rs *Records) CreateKeys(ctx context.Context, by Caller, docs []Document, existing Existing) (client.MadeKeys, Written, error) {
	b := bulk{rs: rs, by: by, existing: existing, names: map[string]string{}, hashes: map[resource.Hash]bool{}}
	for i, doc := range docs {
		if err := b.add(doc); err != nil {
			return client.MadeKeys{}, Written{}, &ItemError{i, err}
		}
	}
	if len(b.puts) == 0 {
		return b.made, Written{}, nil
	}
	batch, err := Batch(slices.Concat(b.puts, b.blocks))
	if err != nil {
		return client.MadeKeys{}, Written{}, err
	}
	if n := sizeOf(batch); n > maxBulkEntry {
		return client.MadeKeys{}, Written{}, &llm.Error{
			Kind: llm.TooLarge, Code: "too_large",
			Message: fmt.Sprintf("the keys make an entry of %d bytes, more than %d; send fewer in a call", n, maxBulkEntry),
		}
	}
	res, err := rs.cfg.Store.Propose(ctx, by.Actor(), by.RequestID, batch)
	if err != nil {
		return client.MadeKeys{}, Written{}, err
	}
	w := written(res)
	w.Version = 0
	return b.made, w, nil
}

func sizeOf(b fsm.Batch) (n int) {
	for _, it := range b.Items {
		n += len(it.Body) + 16
	}
	return n
}

// bulk collects the commands that make several keys.
type bulk struct {
	rs       *Records
	by       Caller
	existing Existing

	names  map[string]string // of the keys before, with their ids
	hashes map[resource.Hash]bool
	puts   []fsm.Command // one for each key that is made
	blocks []fsm.Command
	made   client.MadeKeys
}

func (b *bulk) add(doc Document) error {
	n := b.rs.Keys
	first, err := n.begin(b.by, doc)
	if err != nil {
		return err
	}
	k, err := n.draft(b.by, doc, nil)
	if err != nil {
		return err
	}
	more, err := first.complete(k)
	if err != nil {
		return err
	}
	if id, taken := b.taken(k.Name); taken {
		if b.existing == RefuseExisting {
			return fmt.Errorf("key named %q: %w", k.Name, resource.ErrExists)
		}
		b.made.Skipped++
		b.made.Items = append(b.made.Items, client.MadeKey{ID: id, Name: k.Name, Skipped: true})
		return nil
	}
	if _, taken := b.rs.cfg.State.KeyByHash(k.Hash); taken || b.hashes[k.Hash] {
		return fmt.Errorf("secret of the key: %w", resource.ErrExists)
	}
	put, err := n.command(b.by, nil, k)
	if err != nil {
		return err
	}
	b.puts = append(append(b.puts, put), more...)
	if k.Blocked {
		b.blocks = append(b.blocks, n.block(k.ID, true))
	}
	if k.Name != "" {
		b.names[k.Name] = k.ID
	}
	b.hashes[k.Hash] = true
	b.made.Created++
	b.made.Items = append(b.made.Items, client.MadeKey{ID: k.ID, Name: k.Name, Secret: first.secret})
	return nil
}

// taken finds the key that has the name.
func (b *bulk) taken(name string) (id string, ok bool) {
	if name == "" {
		return "", false
	}
	if id, ok := b.names[name]; ok {
		return id, true
	}
	if k, ok := b.rs.cfg.State.KeyByName(name); ok {
		return k.ID, true
	}
	return "", false
}
