package consensus

import (
	"context"
	"errors"
	"fmt"
	"io"

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
	return n.installed(ctx, done, s.Header.Generation)
}

// installed waits for the end of the restore, and for the quorum as long as ctx lasts.
func (n *Node) installed(ctx context.Context, done <-chan error, generation uint64) error {
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		return fmt.Errorf("install a state: the other nodes do not have it yet: %w", ctx.Err())
	}
	if errors.Is(err, raft.ErrLeadershipLost) || errors.Is(err, raft.ErrNotLeader) {
		return n.outcome(ctx, generation)
	}
	if err != nil {
		return fmt.Errorf("install a state: %w", err)
	}
	return nil
}

// outcome finds out what became of a state that this node had when it lost the leadership: the next
// leader has it, or has never heard of it. In the second case it is this node that is wrong, and it
// fetches the leader's.
func (n *Node) outcome(ctx context.Context, generation uint64) error {
	n.log.Warn("the leadership was lost while a backup took the place of the state")
	for ; ctx.Err() == nil && n.ctx.Err() == nil; pause(ctx, leadInterval) {
		id, _, ok := n.Leader()
		if !ok {
			continue
		}
		if id == n.id {
			if waitFuture(ctx, n.raft.Barrier(changeTimeout)) == nil {
				return nil
			}
			continue
		}
		st, err := n.statusOf(ctx, id, statusWait)
		switch {
		case err != nil:
		case st.Generation >= generation:
			return nil
		default: // it leads, and goes on without
			if err := n.refetch(ctx); err != nil {
				n.log.Error("this node has a state that the cluster does not have; repair it", "error", err)
			}
			return fmt.Errorf("the leadership was lost before the other nodes had the backup, and nothing was changed; try again: %w", resource.ErrNoLeader)
		}
	}
	return fmt.Errorf("the leadership was lost meanwhile; whether the backup is restored is not known: look at the generation in the cluster's status: %w", resource.ErrNoLeader)
}
