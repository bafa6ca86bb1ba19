package fsm

import (
	"bytes"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/overlay"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// MaxResponses is how many responses one command names at most.
const MaxResponses = 256

// Commands on stored responses. What was said is in blobs; here is who may ask for it.
type (
	// PutResponse tells of a stored response and of the blob that holds it, which is there on
	// the nodes' disks. Quota bounds all blobs together; 0: no bound.
	PutResponse struct {
		Response Encoded[resource.Response] `json:"response"`
		Blob     Encoded[resource.Blob]     `json:"blob"`
		Quota    int64                      `json:"quota,omitempty"`
	}
	// DeleteResponses forgets responses and the blobs that nothing else refers to. An id that is
	// not there, or no more, is passed over.
	DeleteResponses struct {
		IDs []string `json:"ids"`
		// Over says that only those go whose time is over.
		Over bool `json:"over,omitempty"`
	}
)

func responseRef(id string) string { return "response/" + id }

// Apply implements Command.
func (c PutResponse) Apply(tx *Tx) error {
	rec := c.Response.Record()
	if rec == nil {
		return &resource.Invalid{Field: "response", Reason: "is missing"}
	}
	if err := rec.Validate(); err != nil {
		return err
	}
	blob := c.Blob.Record()
	if blob == nil || blob.ID != rec.Blob || !slices.Contains(blob.Refs, responseRef(rec.ID)) {
		return &resource.Invalid{Field: "blob", Reason: "is not the response's"}
	}
	if _, ok := tx.get(store.Responses, []byte(rec.ID)); ok {
		return refuse(store.Responses, rec.ID, resource.ErrExists)
	}
	if err := (PutBlob{Blob: c.Blob, Quota: c.Quota}).Apply(tx); err != nil {
		return err
	}
	tx.put(store.Responses, []byte(rec.ID), c.Response.Raw())
	return nil
}

// Apply implements Command.
func (c DeleteResponses) Apply(tx *Tx) error {
	if len(c.IDs) == 0 || len(c.IDs) > MaxResponses {
		return &resource.Invalid{Field: "ids", Reason: "are none, or too many for one command"}
	}
	for _, id := range c.IDs {
		rec, ok := tx.response(id)
		if !ok || c.Over && rec.ExpiresAt > tx.Now {
			continue
		}
		tx.delete(store.Responses, []byte(id))
		tx.dropRef(rec.Blob, responseRef(id))
	}
	return nil
}

// dropRef drops a reference to a blob, and the blob with the last one.
func (tx *Tx) dropRef(digest, ref string) {
	old, version, ok := tx.blob(digest)
	if !ok {
		return
	}
	next := *old
	next.Refs = slices.DeleteFunc(slices.Clone(old.Refs), func(r string) bool { return r == ref })
	if len(next.Refs) == 0 && old.Class == resource.BlobClient {
		tx.dropBlob(version, old)
		return
	}
	tx.putBlob(&next)
	tx.noteBlob(version, old, &next)
}

func (tx *Tx) response(id string) (*resource.Response, bool) {
	if !resource.ValidResponseID(id) {
		return nil, false
	}
	f, ok := tx.get(store.Responses, []byte(id))
	if !ok {
		return nil, false
	}
	r, err := parseResponse(f)
	if err != nil {
		overlay.Fail(err)
	}
	return r, true
}

func parseResponse(f frame.Value) (*resource.Response, error) {
	r := new(resource.Response)
	if err := codec.Unmarshal(f.Payload, r); err != nil {
		return nil, fmt.Errorf("decode response: %w: %w", err, frame.ErrDamaged)
	}
	return r, nil
}

// Response returns where a stored response lies.
func (f *FSM) Response(id string) (r *resource.Response, ok bool) {
	if !resource.ValidResponseID(id) {
		return nil, false
	}
	f.view(func(tx *bolt.Tx) error {
		v, found, err := store.Responses.Read(tx, []byte(id))
		if err != nil || !found {
			return err
		}
		r, err = parseResponse(v)
		ok = err == nil
		return err
	})
	return r, ok
}

// Responses returns those of at most scan responses behind the id that match, in the order of
// their ids, and the last id that was looked at: "" says that there are no more. "" begins.
func (f *FSM) Responses(after string, scan int, match func(*resource.Response) bool) (all []*resource.Response, last string) {
	f.view(func(tx *bolt.Tx) error {
		c := store.Responses.In(tx).Cursor()
		seen := 0
		for k, v := c.Seek([]byte(after)); k != nil; k, v = c.Next() {
			if bytes.Equal(k, []byte(after)) {
				continue
			}
			if seen == scan {
				return nil
			}
			seen++
			parsed, err := frame.Parse(k, v)
			if err != nil {
				return err
			}
			r, err := parseResponse(parsed)
			if err != nil {
				return err
			}
			if last = r.ID; match(r) {
				all = append(all, r)
			}
		}
		last = ""
		return nil
	})
	return all, last
}
