// Package artifacts keeps files, batches and the owners of what providers keep: a record each in
// Raft, and the bytes of files in sealed blobs on two nodes. It does nothing with what is in them.
package artifacts

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

const (
	// missWait bounds how long an id that is not known here waits for the leader's index.
	missWait = 2 * time.Second
	// dropWait bounds the wait for the nodes to remove bodies, when the answer is "deleted" already.
	dropWait = 5 * time.Second
)

// Blobs are the cluster's blobs; *blob.Store is one.
type Blobs interface {
	Place(ctx context.Context, by fsm.Actor, b resource.Blob, body []byte) (resource.Blob, error)
	Read(ctx context.Context, digest string) ([]byte, error)
	Erase(ctx context.Context, digest string) error
	Quota() int64
}

// Cluster is what the store needs of Raft; *consensus.Node is one.
type Cluster interface {
	Propose(ctx context.Context, by fsm.Actor, requestID string, cmd fsm.Command) (fsm.Result, error)
	LeaderIndex(ctx context.Context) (uint64, error)
	HasLeader() bool
	IsLeader() bool
}

// State is what is known of artifacts; *fsm.FSM is one.
type State interface {
	Artifact(id string) (a *resource.Artifact, version uint64, ok bool)
	Artifacts(after string, scan int, match func(*resource.Artifact) bool) (all []*resource.Artifact, last string)
	Blob(id string) (*resource.Blob, bool)
}

// Config is what a Store is made of; all fields are required but Now and Logger.
type Config struct {
	NodeID  string
	Blobs   Blobs
	Cluster Cluster
	State   State
	Now     func() time.Time // nil: clock.Now
	Logger  *slog.Logger     // nil: nobody is told
}

// Store is the artifacts of the cluster, as one node sees them. Several goroutines may use it.
type Store struct{ cfg Config }

// New makes a Store.
func New(cfg Config) *Store {
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Store{cfg}
}

func (s *Store) actor() fsm.Actor { return fsm.Actor{Kind: "node", ID: s.cfg.NodeID} }

// Able returns why nothing can be stored now; nil: it can.
func (s *Store) Able() error {
	if !s.cfg.Cluster.HasLeader() {
		return resource.ErrNoLeader
	}
	return nil
}

// Put stores an artifact: a new one, or another version of the one that was read. bodies are those
// of its parts that are new. It returns when two nodes have them on disk and Raft knows of it, and
// gives the new version. Errors: resource.ErrConflict for another version than the one that was
// read, resource.ErrFull beyond the quota of blobs.
func (s *Store) Put(ctx context.Context, a *resource.Artifact, read uint64, bodies ...[]byte) (version uint64, err error) {
	cmd := fsm.PutArtifact{Read: read, Quota: s.cfg.Blobs.Quota()}
	if cmd.Artifact, err = fsm.EncodedOf(*a); err != nil {
		return 0, fmt.Errorf("encode artifact %s: %w", a.ID, err)
	}
	for _, body := range bodies {
		b, err := s.cfg.Blobs.Place(ctx, s.actor(), resource.Blob{
			Class: resource.BlobClient, Kind: "file", Owner: owner(&a.Owners), Refs: []string{a.Ref()}, ExpiresAt: a.ExpiresAt,
		}, body)
		if err != nil {
			return 0, err
		}
		enc, err := fsm.EncodedOf(b)
		if err != nil {
			return 0, fmt.Errorf("encode blob %s: %w", b.ID, err)
		}
		cmd.Blobs = append(cmd.Blobs, enc)
	}
	res, err := s.cfg.Cluster.Propose(ctx, s.actor(), "", cmd)
	if err != nil {
		return 0, fmt.Errorf("store artifact %s: %w", a.ID, err)
	}
	return res.Index, nil
}

// owner names who made it, for those who list blobs.
func owner(o *resource.Owners) string {
	if o.KeyID == "" {
		return ""
	}
	return "key/" + o.KeyID
}

// Get returns an artifact and its version, or resource.ErrNotFound for one that is not there or
// whose time is over. An id that is not known here is asked of the leader.
func (s *Store) Get(ctx context.Context, id string) (*resource.Artifact, uint64, error) {
	a, version, ok := s.cfg.State.Artifact(id)
	if !ok && resource.ValidArtifactID(id) {
		if err := s.catchUp(ctx); err != nil {
			return nil, 0, err
		}
		a, version, ok = s.cfg.State.Artifact(id)
	}
	if !ok || a.ExpiresAt <= resource.At(s.cfg.Now()) {
		return nil, 0, fmt.Errorf("artifact %q: %w", id, resource.ErrNotFound)
	}
	return a, version, nil
}

// Known is Get of what this node knows, without asking anybody.
func (s *Store) Known(id string) (*resource.Artifact, bool) {
	a, _, ok := s.cfg.State.Artifact(id)
	return a, ok && a.ExpiresAt > resource.At(s.cfg.Now())
}

// catchUp waits until this node knows what the leader knows. Where there is no leader nobody can
// tell that an id is not there.
func (s *Store) catchUp(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, missWait)
	defer cancel()
	if _, err := s.cfg.Cluster.LeaderIndex(wait); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &llm.Error{
			Kind: llm.Unavailable, Code: "conclave_stale", RetryAfter: time.Second,
			Message: "This node does not know the id, and cannot ask the cluster's leader.", Err: err,
		}
	}
	return nil
}

// Body returns the bytes of a part: an *llm.Error of kind Unavailable, code blob_unavailable, if no
// node gives them.
func (s *Store) Body(ctx context.Context, digest string) ([]byte, error) {
	return s.cfg.Blobs.Read(ctx, digest)
}

// List returns those that match, in the order of their ids: all that the leader knows, or without a
// leader those that are known here. match must not wait.
func (s *Store) List(ctx context.Context, match func(*resource.Artifact) bool) (all []*resource.Artifact, err error) {
	if err := s.catchUp(ctx); err != nil {
		s.cfg.Logger.Debug("a list may be old", "error", err)
	}
	now := resource.At(s.cfg.Now())
	err = s.pages(ctx, func(a *resource.Artifact) bool { return a.ExpiresAt > now && match(a) }, func(page []*resource.Artifact) error {
		all = append(all, page...)
		return nil
	})
	return all, err
}

// Delete forgets an artifact for good. Its bytes are removed from every node that can be reached at
// once, and from the others when they are back.
func (s *Store) Delete(ctx context.Context, id string) error {
	a, _, ok := s.cfg.State.Artifact(id)
	if !ok {
		return fmt.Errorf("artifact %q: %w", id, resource.ErrNotFound)
	}
	return s.drop(ctx, []*resource.Artifact{a}, false)
}

// drop forgets artifacts and removes the bodies that nothing else refers to.
func (s *Store) drop(ctx context.Context, all []*resource.Artifact, over bool) error {
	ids := make([]string, 0, len(all))
	for _, a := range all {
		ids = append(ids, a.ID)
	}
	if _, err := s.cfg.Cluster.Propose(ctx, s.actor(), "", fsm.DeleteArtifacts{IDs: ids, Over: over}); err != nil {
		return fmt.Errorf("delete %d artifacts: %w", len(ids), err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropWait)
	defer cancel()
	for _, a := range all {
		for _, p := range a.Parts() {
			if _, known := s.cfg.State.Blob(p.Blob); known {
				continue
			}
			if err := s.cfg.Blobs.Erase(ctx, p.Blob); err != nil {
				s.cfg.Logger.Info("a deleted body stays on a node until it looks again", "blob", p.Blob, "error", err)
			}
		}
	}
	return nil
}

// Erase forgets every artifact of those that whose selects, for good, and says how many there were.
// Every field of whose that is not "" must be the same; the zero value selects none.
func (s *Store) Erase(ctx context.Context, whose resource.Owners) (erased int, err error) {
	err = s.pages(ctx, func(a *resource.Artifact) bool { return a.Owners.Match(whose) }, func(page []*resource.Artifact) error {
		if err := s.drop(ctx, page, false); err != nil {
			return err
		}
		erased += len(page)
		return nil
	})
	return erased, err
}

// Sweep forgets, on the node that leads, what has expired.
func (s *Store) Sweep(ctx context.Context) error {
	if !s.cfg.Cluster.IsLeader() {
		return nil
	}
	now := resource.At(s.cfg.Now())
	return s.pages(ctx, func(a *resource.Artifact) bool { return a.ExpiresAt <= now }, func(page []*resource.Artifact) error {
		return s.drop(ctx, page, true)
	})
}

// pages calls do with the artifacts that match, at most as many at once as a command takes.
func (s *Store) pages(ctx context.Context, match func(*resource.Artifact) bool, do func([]*resource.Artifact) error) error {
	return fsm.EachPage(ctx, s.cfg.State.Artifacts, fsm.MaxArtifacts, match, do)
}
