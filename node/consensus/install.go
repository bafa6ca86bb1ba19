package consensus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// errInstalling says that the state is being replaced, which a proposal has to wait for.
var errInstalling = errors.New("a backup is being restored")

// State is one that is to take the place of the cluster's.
type State struct {
	Header fsm.Header
	Body   io.Reader // the header too
}

// Install puts a state in the place of the cluster's, on the leader only. build makes it of what is
// applied at that moment: nothing is proposed from then on until the state is there. It returns when
// most voters have it. An error that is resource.ErrRefused or resource.ErrNoLeader says that
// nothing was changed; after another one the state may be there.
func (n *Node) Install(ctx context.Context, build func() (State, error)) error {
	if !n.IsLeader() {
		return fmt.Errorf("install a state: %w", resource.ErrNoLeader)
	}
	if !n.installing.CompareAndSwap(false, true) {
		return fmt.Errorf("%w already: %w", errInstalling, resource.ErrRefused)
	}
	defer n.installing.Store(false)
	if err := waitFuture(ctx, n.raft.Barrier(changeTimeout)); err != nil {
		return fmt.Errorf("install a state: %w: %w", resource.ErrNoLeader, err)
	}
	s, err := build()
	if err != nil {
		return err
	}
	if !n.IsLeader() {
		return fmt.Errorf("install a state: %w", resource.ErrNoLeader)
	}
	meta := &raft.SnapshotMeta{Version: raft.SnapshotVersionMax, Index: s.Header.Index, Term: s.Header.Term, Size: fsm.HeaderSize + int64(s.Header.Size)}
	n.log.Warn("a backup takes the place of the state", "index", s.Header.Index, "generation", s.Header.Generation)
	done := make(chan error, 1)
	go func() { done <- n.raft.Restore(meta, s.Body, changeTimeout) }() // cannot be given up: what it reads must stay
	return n.installed(ctx, done)
}

// installed waits for the end of the restore, and for the quorum as long as ctx lasts.
func (n *Node) installed(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("install a state: %w", err)
		}
		return nil
	case <-ctx.Done():
	}
	grace := time.NewTimer(changeTimeout)
	defer grace.Stop()
	select {
	case err := <-done:
		return err
	case <-grace.C:
		return fmt.Errorf("install a state: the other nodes do not have it yet: %w", ctx.Err())
	}
}
