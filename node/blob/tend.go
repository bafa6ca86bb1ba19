package blob

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

const (
	// orphanAge is how old a file must be that Raft does not know of before it is removed: its
	// write may not be over.
	orphanAge = time.Hour
	page      = fsm.MaxSweep
	// dropWait is how long a node that is behind waits before it keeps what others have forgotten.
	dropWait = 2 * time.Second
)

// Tend does once what has to be done from time to time: it fetches what every node keeps and
// this one lacks, removes files that the cluster has forgotten and, if this node leads, forgets
// what has expired and has new copies made where holders were removed from the cluster.
func (s *Store) Tend(ctx context.Context) error {
	var errs []error
	for after := ""; ctx.Err() == nil; {
		blobs := s.cfg.State.Blobs(after, page)
		if len(blobs) == 0 {
			break
		}
		after = blobs[len(blobs)-1].ID
		errs = append(errs, s.complete(ctx, blobs), s.sweep(ctx, blobs), s.restore(ctx, blobs))
	}
	return errors.Join(append(errs, s.forget())...)
}

// complete fetches what is missing here of what every node keeps.
func (s *Store) complete(ctx context.Context, blobs []*resource.Blob) error {
	var errs []error
	for _, b := range blobs {
		if b.Class != resource.BlobConfiguration || s.folder.Has(b.ID) {
			continue
		}
		_, err := s.Read(ctx, b.ID)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (s *Store) sweep(ctx context.Context, blobs []*resource.Blob) error {
	if !s.cfg.Leads() {
		return nil
	}
	now := resource.At(s.cfg.Now())
	var over []string
	for _, b := range blobs {
		if fsm.Sweepable(b, now) {
			over = append(over, b.ID)
		}
	}
	if len(over) == 0 {
		return nil
	}
	_, err := s.cfg.Cluster.Propose(ctx, fsm.Actor{Kind: "node", ID: s.cfg.NodeID}, "", fsm.SweepBlobs{IDs: over})
	return err
}

// restore has further copies made of what clients sent and too few members hold, because
// others have left the cluster for good. Members that are merely down still count.
func (s *Store) restore(ctx context.Context, blobs []*resource.Blob) error {
	if !s.cfg.Leads() {
		return nil
	}
	members := append(s.cfg.Peers(), s.cfg.NodeID)
	now := resource.At(s.cfg.Now())
	var errs []error
	for _, b := range blobs {
		lacks := lasting(b, members) < min(copies, len(members))
		if b.Class != resource.BlobClient || !lacks || b.ExpiresAt != 0 && b.ExpiresAt <= now {
			continue
		}
		errs = append(errs, s.copyAgain(ctx, b))
	}
	return errors.Join(errs...)
}

// lasting counts the holders that are still members.
func lasting(b *resource.Blob, members []string) (n int) {
	for _, h := range b.Holders {
		if slices.Contains(members, h) {
			n++
		}
	}
	return n
}

// copyAgain makes this node hold the blob, and another, and tells the cluster.
func (s *Store) copyAgain(ctx context.Context, b *resource.Blob) error {
	if _, err := s.Read(ctx, b.ID); err != nil {
		return err
	}
	holders, err := s.spread(ctx, b.ID)
	if err != nil {
		return err
	}
	next := *b
	next.Refs = nil // those that the cluster knows stay
	next.Holders = append(slices.Clone(b.Holders), holders...)
	next.Canonicalize()
	enc, err := fsm.EncodedOf(next)
	if err != nil {
		return fmt.Errorf("encode blob %s: %w", b.ID, err)
	}
	_, err = s.cfg.Cluster.Propose(ctx, fsm.Actor{Kind: "node", ID: s.cfg.NodeID}, "", fsm.PutBlob{Blob: enc})
	return err
}

// forget removes files of no known blob.
func (s *Store) forget() error {
	old, err := s.folder.Before(s.cfg.Now().Add(-orphanAge))
	errs := []error{err}
	for _, digest := range old {
		if _, ok := s.cfg.State.Blob(digest); !ok {
			errs = append(errs, s.folder.Remove(digest))
		}
	}
	return errors.Join(errs...)
}

// Erase removes the body of a blob that the cluster, as this node knows it, has forgotten from every
// node that can be reached; the others remove it when they next look. A body that is known again stays.
func (s *Store) Erase(ctx context.Context, digest string) error {
	drop := fmt.Appendf(nil, "%s %d", digest, s.cfg.State.Applied())
	_, err := s.OnDrop(ctx, "", drop)
	errs := []error{err}
	for _, p := range s.cfg.Peers() {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		_, err := s.cfg.Cluster.Call(ctx, p, MethodDrop, drop)
		cancel()
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// OnDrop answers MethodDrop: a digest, and the index of Raft at which it was forgotten, for which a node
// waits that is behind. One that has not heard then that the blob is forgotten keeps it.
func (s *Store) OnDrop(ctx context.Context, _ string, drop []byte) ([]byte, error) {
	digest, text, _ := strings.Cut(string(drop), " ")
	if index, err := strconv.ParseUint(text, 10, 64); err == nil { // nodes of before said none
		ctx, cancel := context.WithTimeout(ctx, dropWait)
		defer cancel()
		if err := s.cfg.State.WaitApplied(ctx, index); err != nil {
			return nil, fmt.Errorf("blob %s: wait for index %d: %w", digest, index, err)
		}
	}
	if _, ok := s.cfg.State.Blob(digest); ok {
		return nil, fmt.Errorf("blob %s is known here: %w", digest, resource.ErrInUse)
	}
	return nil, s.folder.Remove(digest)
}

// Check says what one node has of a blob.
type Check struct {
	Node  string // id
	Holds bool   // whole, with the right digest
	Err   error  // why not
}

// Verify reads the body of a known blob on every member and checks its digest.
func (s *Store) Verify(ctx context.Context, digest string) ([]Check, error) {
	if _, ok := s.cfg.State.Blob(digest); !ok {
		return nil, &notKnown{digest}
	}
	_, err := s.folder.Read(digest)
	all := []Check{{Node: s.cfg.NodeID, Holds: err == nil, Err: err}}
	for _, p := range slices.Sorted(slices.Values(s.cfg.Peers())) {
		_, err := s.fetch(ctx, p, digest)
		all = append(all, Check{Node: p, Holds: err == nil, Err: err})
	}
	return all, nil
}

type notKnown struct{ digest string }

// Error implements error.
func (e *notKnown) Error() string { return "blob " + e.digest + " is not known" }

// Unwrap makes it a resource.ErrNotFound.
func (e *notKnown) Unwrap() error { return resource.ErrNotFound }
