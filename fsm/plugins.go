package fsm

import (
	"errors"
	"fmt"
	"slices"

	"github.com/conclave-llm/conclave/resource"
)

// moveBinaries lets the blobs of the binaries of to know that they are needed, and those that
// only from needed that they are not; either may be nil, or a plugin that was not uploaded. A
// blob stays while it is needed.
func (tx *Tx) moveBinaries(from, to *resource.Plugin) error {
	var old, next []string
	if m := from.Bundle(); m != nil {
		old = m.Digests()
	}
	if m := to.Bundle(); m != nil {
		next = m.Digests()
	}
	for _, digest := range next {
		if slices.Contains(old, digest) {
			continue
		}
		err := ReferBlob{ID: digest, Ref: to.BlobRef()}.Apply(tx)
		if errors.Is(err, resource.ErrNotFound) {
			return &resource.Invalid{Field: "manifest", Reason: fmt.Sprintf("there is no blob %s: upload the bundle", digest)}
		}
		if err != nil {
			return err
		}
	}
	for _, digest := range old {
		if !slices.Contains(next, digest) {
			tx.dropRef(digest, from.BlobRef())
		}
	}
	return nil
}
