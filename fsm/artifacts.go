package fsm

import (
	"slices"

	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// MaxArtifacts is how many artifacts one command names at most.
const MaxArtifacts = 256

// Commands on artifacts: files, batches and what providers keep. What is in a file is in blobs.
type (
	// PutArtifact creates an artifact (Read 0) or replaces the version that its proposer read.
	// Blobs tells of the parts that are new; other parts must be known, and get a reference. Parts
	// that it names no more lose theirs. Quota bounds all blobs together; 0: no bound.
	PutArtifact struct {
		Artifact Encoded[resource.Artifact] `json:"artifact"`
		Read     uint64                     `json:"read,omitempty"`
		Blobs    []Encoded[resource.Blob]   `json:"blobs,omitempty"`
		Quota    int64                      `json:"quota,omitempty"`
	}
	// DeleteArtifacts forgets artifacts and the blobs that nothing else refers to. An id that is not
	// there, or no more, is passed over.
	DeleteArtifacts struct {
		IDs []string `json:"ids"`
		// Over says that only those go whose time is over.
		Over bool `json:"over,omitempty"`
	}
)

// Apply implements Command.
func (c PutArtifact) Apply(tx *Tx) error {
	rec := c.Artifact.Record()
	if rec == nil {
		return &resource.Invalid{Field: "artifact", Reason: "is missing"}
	}
	if err := rec.Validate(); err != nil {
		return err
	}
	old, version, ok := tx.artifact(rec.ID)
	switch {
	case c.Read == 0 && ok:
		return refuse(store.Artifacts, rec.ID, resource.ErrExists)
	case c.Read != 0 && !ok:
		return refuse(store.Artifacts, rec.ID, resource.ErrNotFound)
	case c.Read != version:
		return refuse(store.Artifacts, rec.ID, resource.ErrConflict)
	case ok && (old.Kind != rec.Kind || old.Owners != rec.Owners):
		return &resource.Invalid{Field: "owners", Reason: "and kind of an artifact do not change"}
	}
	if err := c.refer(tx, rec, old); err != nil {
		return err
	}
	tx.put(store.Artifacts, []byte(rec.ID), c.Artifact.Raw())
	tx.wrote = true
	return nil
}

// refer makes the blobs of the new version refer to the artifact, and those of the old no more.
func (c PutArtifact) refer(tx *Tx, rec, old *resource.Artifact) error {
	ref := rec.Ref()
	fresh := map[string]bool{}
	for _, e := range c.Blobs {
		b := e.Record()
		if b == nil || !slices.Contains(b.Refs, ref) || !slices.ContainsFunc(rec.Parts(), func(p resource.Part) bool { return p.Blob == b.ID && p.Bytes == b.Size }) {
			return &resource.Invalid{Field: "blobs", Reason: "are not the artifact's"}
		}
		if err := (PutBlob{Blob: e, Quota: c.Quota}).Apply(tx); err != nil {
			return err
		}
		fresh[b.ID] = true
	}
	for _, p := range rec.Parts() {
		if fresh[p.Blob] {
			continue
		}
		fresh[p.Blob] = true
		if err := (ReferBlob{ID: p.Blob, Ref: ref}).Apply(tx); err != nil {
			return err
		}
	}
	if old == nil {
		return nil
	}
	for _, p := range old.Parts() {
		if !fresh[p.Blob] {
			tx.dropRef(p.Blob, ref)
		}
	}
	return nil
}

// Apply implements Command.
func (c DeleteArtifacts) Apply(tx *Tx) error {
	if len(c.IDs) == 0 || len(c.IDs) > MaxArtifacts {
		return &resource.Invalid{Field: "ids", Reason: "are none, or too many for one command"}
	}
	for _, id := range c.IDs {
		rec, _, ok := tx.artifact(id)
		if !ok || c.Over && rec.ExpiresAt > tx.Now {
			continue
		}
		tx.delete(store.Artifacts, []byte(id))
		for _, p := range rec.Parts() {
			tx.dropRef(p.Blob, rec.Ref())
		}
	}
	return nil
}

func (tx *Tx) artifact(id string) (*resource.Artifact, uint64, bool) {
	if !resource.ValidArtifactID(id) {
		return nil, 0, false
	}
	return filed[resource.Artifact](tx, store.Artifacts, id)
}

// Artifact returns an artifact and its version.
func (f *FSM) Artifact(id string) (a *resource.Artifact, version uint64, ok bool) {
	if !resource.ValidArtifactID(id) {
		return nil, 0, false
	}
	return readFiled[resource.Artifact](f, store.Artifacts, id)
}

// Artifacts returns those of at most scan artifacts behind the id that match, in the order of
// their ids, and the last id that was looked at: "" says that there are no more. "" begins.
func (f *FSM) Artifacts(after string, scan int, match func(*resource.Artifact) bool) (all []*resource.Artifact, last string) {
	return scanFiled(f, store.Artifacts, after, scan, match)
}
