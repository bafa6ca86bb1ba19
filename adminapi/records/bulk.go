package records

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/keyshelf"
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

// Bulk says how CreateKeys makes keys. The zero value makes all of them or none.
type Bulk struct {
	SkipExisting bool // pass over documents whose name or secret a key has already
	DryRun       bool // check all of them and make none
}

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
func (rs *Records) CreateKeys(ctx context.Context, by Caller, docs []Document, how Bulk) (client.MadeKeys, Written, error) {
	b := bulk{rs: rs, by: by, how: how, names: map[string]string{}, hashes: map[resource.Hash]string{}}
	if err := b.all(ctx, docs); err != nil {
		return client.MadeKeys{}, Written{}, err
	}
	if len(b.puts) == 0 || how.DryRun {
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
	var res fsm.Result
	err = rs.cfg.Shelf.Commit(ctx, b.kept, func() (err error) {
		res, err = rs.cfg.Store.Propose(ctx, by.Actor(), by.RequestID, batch)
		return err
	})
	if err != nil {
		return client.MadeKeys{}, Written{}, err
	}
	w := WrittenAt(res)
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
	rs  *Records
	by  Caller
	how Bulk

	there  map[string]*resource.Key // that the state has under a name of one of these
	names  map[string]string        // of the keys before, with their ids
	hashes map[resource.Hash]string // the same
	puts   []fsm.Command            // one for each key that is made
	blocks []fsm.Command
	kept   []keyshelf.Item // of those that go into a secret store
	made   client.MadeKeys
}

// drafted is a key that is complete but not yet checked.
type drafted struct {
	key    *resource.Key
	secret string
	more   []fsm.Command // that go with it
}

// all makes the commands, for as long as the client waits: an auth plugin may be asked about each key. An error about one
// of the documents is an *ItemError.
func (b *bulk) all(ctx context.Context, docs []Document) error {
	drafts := make([]drafted, len(docs))
	names := make([]string, 0, len(docs))
	for i, doc := range docs {
		var err error
		if drafts[i], err = b.draft(doc); err != nil {
			return &ItemError{i, err}
		}
		if name := drafts[i].key.Name; name != "" {
			names = append(names, name)
		}
	}
	b.there = b.rs.cfg.State.KeysByName(names)
	for i := range drafts {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := b.add(&drafts[i]); err != nil {
			return &ItemError{i, err}
		}
	}
	return nil
}

func (b *bulk) draft(doc Document) (drafted, error) {
	n := b.rs.Keys
	first, err := n.begin(b.by, doc)
	if err != nil {
		return drafted{}, err
	}
	k, err := n.draft(b.by, doc, nil)
	if err != nil {
		return drafted{}, err
	}
	more, err := first.complete(k)
	return drafted{key: k, secret: first.secret, more: more}, err
}

func (b *bulk) add(d *drafted) error {
	n, k := b.rs.Keys, d.key
	if there, err := b.taken(k); err != nil || there {
		return err
	}
	put, err := n.command(b.by, nil, k)
	if err != nil {
		return err
	}
	b.puts = append(append(b.puts, put), d.more...)
	if k.StoredIn != "" {
		b.kept = append(b.kept, keyshelf.Item{Key: k, Secret: d.secret})
	}
	if k.Blocked {
		b.blocks = append(b.blocks, n.block(k.ID, true))
	}
	if k.Name != "" {
		b.names[k.Name] = k.ID
	}
	b.hashes[k.Hash] = k.ID
	b.made.Created++
	made := client.MadeKey{ID: k.ID, Name: k.Name, Hash: k.Hash, Secret: d.secret}
	if b.how.DryRun {
		made = client.MadeKey{Name: k.Name}
	}
	b.made.Items = append(b.made.Items, made)
	return nil
}

// taken passes a key over, or refuses it, if another has its name or its secret.
func (b *bulk) taken(k *resource.Key) (bool, error) {
	what := fmt.Sprintf("key named %q", k.Name)
	id, hash, ok := b.named(k.Name)
	if !ok {
		what = "secret of the key"
		id, hash, ok = b.secret(k.Hash)
	}
	switch {
	case !ok:
		return false, nil
	case !b.how.SkipExisting:
		return true, fmt.Errorf("%s: %w", what, resource.ErrExists)
	}
	b.made.Skipped++
	b.made.Items = append(b.made.Items, client.MadeKey{ID: id, Name: k.Name, Hash: hash, Skipped: true})
	return true, nil
}

// named finds the key that has the name, in the state or among those before.
func (b *bulk) named(name string) (id string, hash resource.Hash, ok bool) {
	if name == "" {
		return "", resource.Hash{}, false
	}
	if k, ok := b.there[name]; ok {
		return k.ID, k.Hash, true
	}
	id, ok = b.names[name]
	return id, resource.Hash{}, ok
}

// secret finds the key that has the secret.
func (b *bulk) secret(h resource.Hash) (id string, hash resource.Hash, ok bool) {
	if k, ok := b.rs.cfg.State.KeyByHash(h); ok {
		return k.ID, k.Hash, true
	}
	id, ok = b.hashes[h]
	return id, h, ok
}
