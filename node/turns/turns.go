// Package turns keeps the stored turns of OpenAI's responses: what was said is a sealed blob on
// two nodes, and Raft knows which blob a response is, whose it is and until when. It does nothing
// with what is in them.
package turns

import (
	"context"
	"errors"
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
	// dropWait bounds the wait for the nodes to remove a body, when the answer is "deleted" already.
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

// State is what is known of responses; *fsm.FSM is one.
type State interface {
	Response(id string) (*resource.Response, bool)
	Responses(after string, scan int, match func(*resource.Response) bool) (all []*resource.Response, last string)
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

// Store is the stored turns of the cluster, as one node sees them. Several goroutines may use it.
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

// Put stores a turn. It returns when two nodes have it on disk and Raft knows of it, so that every
// node finds it: one that has not heard yet asks the leader.
func (s *Store) Put(ctx context.Context, r resource.Response, body []byte) error {
	b, err := s.cfg.Blobs.Place(ctx, s.actor(), resource.Blob{
		Class: resource.BlobClient, Kind: "response", Owner: owner(&r.Owners), Refs: []string{"response/" + r.ID}, ExpiresAt: r.ExpiresAt,
	}, body)
	if err != nil {
		return err
	}
	r.Blob = b.ID
	cmd := fsm.PutResponse{Quota: s.cfg.Blobs.Quota()}
	if cmd.Blob, err = fsm.EncodedOf(b); err == nil {
		cmd.Response, err = fsm.EncodedOf(r)
	}
	if err != nil {
		return fmt.Errorf("encode response %s: %w", r.ID, err)
	}
	if _, err = s.cfg.Cluster.Propose(ctx, s.actor(), "", cmd); err != nil {
		return fmt.Errorf("store response %s: %w", r.ID, err)
	}
	return nil
}

// owner names who made it, for those who list blobs.
func owner(o *resource.Owners) string {
	if o.KeyID == "" {
		return ""
	}
	return "key/" + o.KeyID
}

// Known says whether this node knows of a turn, without asking another.
func (s *Store) Known(id string) bool {
	_, ok := s.cfg.State.Response(id)
	return ok
}

// Get returns a turn. It returns resource.ErrNotFound for one that is not there or whose time is
// over, and an *llm.Error of kind Unavailable, code blob_unavailable, if no node gives its body.
func (s *Store) Get(ctx context.Context, id string) (*resource.Response, []byte, error) {
	r, ok := s.cfg.State.Response(id)
	if !ok && resource.ValidResponseID(id) {
		if err := s.catchUp(ctx); err != nil {
			return nil, nil, err
		}
		r, ok = s.cfg.State.Response(id)
	}
	if !ok || r.ExpiresAt <= resource.At(s.cfg.Now()) {
		return nil, nil, fmt.Errorf("response %q: %w", id, resource.ErrNotFound)
	}
	body, err := s.cfg.Blobs.Read(ctx, r.Blob)
	return r, body, err
}

// catchUp waits until this node knows what the leader knows: the turn may have been stored a
// moment ago. Where there is no leader nobody can tell that an id is not there.
func (s *Store) catchUp(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, missWait)
	defer cancel()
	if _, err := s.cfg.Cluster.LeaderIndex(wait); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &llm.Error{
			Kind: llm.Unavailable, Code: "conclave_stale", RetryAfter: time.Second,
			Message: "This node does not know the response, and cannot ask the cluster's leader.", Err: err,
		}
	}
	return nil
}

// Delete forgets a turn for good. Its body is removed from every node that can be reached at
// once, and from the others when they are back.
func (s *Store) Delete(ctx context.Context, id string) error {
	r, ok := s.cfg.State.Response(id)
	if !ok {
		return fmt.Errorf("response %q: %w", id, resource.ErrNotFound)
	}
	return s.drop(ctx, []*resource.Response{r}, false)
}

// drop forgets responses and removes the bodies that nothing else refers to.
func (s *Store) drop(ctx context.Context, all []*resource.Response, over bool) error {
	ids := make([]string, 0, len(all))
	for _, r := range all {
		ids = append(ids, r.ID)
	}
	if _, err := s.cfg.Cluster.Propose(ctx, s.actor(), "", fsm.DeleteResponses{IDs: ids, Over: over}); err != nil {
		return fmt.Errorf("delete %d responses: %w", len(ids), err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropWait)
	defer cancel()
	for _, r := range all {
		if _, known := s.cfg.State.Blob(r.Blob); known {
			continue
		}
		if err := s.cfg.Blobs.Erase(ctx, r.Blob); err != nil {
			s.cfg.Logger.Info("a deleted body stays on a node until it looks again", "blob", r.Blob, "error", err)
		}
	}
	return nil
}

// Whose selects turns by their owners: every field that is not "" must be the same. The zero
// value selects none.
type Whose = resource.Owners

// List calls each for every stored turn of those that w selects, with what was said (JSON: id,
// input, response); what has expired is left out. The error of each ends it. A body that no node
// gives is an error too.
func (s *Store) List(ctx context.Context, w Whose, each func(r *resource.Response, body []byte) error) error {
	return s.pages(ctx, func(r *resource.Response) bool { return r.Owners.Match(w) }, func(page []*resource.Response) error {
		for _, r := range page {
			if r.ExpiresAt <= resource.At(s.cfg.Now()) {
				continue
			}
			body, err := s.cfg.Blobs.Read(ctx, r.Blob)
			if errors.Is(err, resource.ErrNotFound) {
				continue // deleted in the meantime
			}
			if err == nil {
				err = each(r, body)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Erase forgets every stored turn of those that w selects, for good, and says how many there were.
func (s *Store) Erase(ctx context.Context, w Whose) (erased int, err error) {
	err = s.pages(ctx, func(r *resource.Response) bool { return r.Owners.Match(w) }, func(page []*resource.Response) error {
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
	return s.pages(ctx, func(r *resource.Response) bool { return r.ExpiresAt <= now }, func(page []*resource.Response) error {
		return s.drop(ctx, page, true)
	})
}

// pages calls do with the responses that match, at most as many at once as a command takes.
func (s *Store) pages(ctx context.Context, match func(*resource.Response) bool, do func([]*resource.Response) error) error {
	return fsm.EachPage(ctx, s.cfg.State.Responses, fsm.MaxResponses, match, do)
}
