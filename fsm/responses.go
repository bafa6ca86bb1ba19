package fsm

import (
	"slices"

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
	r, _, ok := filed[resource.Response](tx, store.Responses, id)
	return r, ok
}

// Response returns where a stored response lies.
func (f *FSM) Response(id string) (r *resource.Response, ok bool) {
	if !resource.ValidResponseID(id) {
		return nil, false
	}
	r, _, ok = readFiled[resource.Response](f, store.Responses, id)
	return r, ok
}

// Responses returns those of at most scan responses behind the id that match, in the order of
// their ids, and the last id that was looked at: "" says that there are no more. "" begins.
func (f *FSM) Responses(after string, scan int, match func(*resource.Response) bool) (all []*resource.Response, last string) {
	return scanFiled(f, store.Responses, after, scan, match)
}
