package consensus

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
)

const (
	// maxReplay is how long a restart may take to apply what followed the last snapshot.
	maxReplay = 10 * time.Second
	// snapshotRetry is the pause after a snapshot that was due and could not be made.
	snapshotRetry = time.Minute
	// snapshotScrub is how often the snapshots are read and compared with their checksums.
	snapshotScrub = 24 * time.Hour
)

// watchedFSM tells the gate of each batch, and adds up how long the state machine has
// worked since the last snapshot. To apply the same entries again takes at most as long, and
// less if they then come in larger batches, so the sum is what a restart would need.
type watchedFSM struct {
	*fsm.FSM
	gate *gate

	spent atomic.Int64 // nanoseconds in the state machine
	saved atomic.Int64 // of those, covered by a snapshot
}

// replay is how long it took to apply what followed the last snapshot.
func (w *watchedFSM) replay() time.Duration {
	return time.Duration(w.spent.Load() - w.saved.Load())
}

// measure runs f as one batch.
func (w *watchedFSM) measure(f func()) {
	start := w.gate.boot()
	w.gate.applying.Store(int64(start))
	defer func() {
		w.gate.applying.Store(0)
		w.spent.Add(int64(w.gate.boot() - start))
	}()
	f()
}

// Apply implements raft.FSM.
func (w *watchedFSM) Apply(l *raft.Log) (out any) {
	w.measure(func() { out = w.FSM.Apply(l) })
	return out
}

// ApplyBatch implements raft.BatchingFSM.
func (w *watchedFSM) ApplyBatch(ls []*raft.Log) (out []any) {
	w.measure(func() { out = w.FSM.ApplyBatch(ls) })
	return out
}

// Snapshot implements raft.FSM.
func (w *watchedFSM) Snapshot() (raft.FSMSnapshot, error) {
	s, err := w.FSM.Snapshot()
	if err != nil {
		return nil, err
	}
	return &watchedSnapshot{FSMSnapshot: s, w: w, spent: w.spent.Load()}, nil
}

// watchedSnapshot says when it is stored what need not be applied again.
type watchedSnapshot struct {
	raft.FSMSnapshot
	w     *watchedFSM
	spent int64 // when the snapshot was begun
}

// Persist implements raft.FSMSnapshot.
func (s *watchedSnapshot) Persist(sink raft.SnapshotSink) error {
	err := s.FSMSnapshot.Persist(sink)
	if err == nil {
		s.w.saved.Store(s.spent)
	}
	return err
}

// keepReplayShort makes a snapshot as soon as the next start would take too long, or one is
// asked for in place of a damaged one. Raft's own threshold of entries stands beside it, as
// the longest that the log grows.
func (n *Node) keepReplayShort() {
	tick := time.NewTicker(housekeeping)
	defer tick.Stop()
	var next time.Duration // boot time before which no snapshot is tried
	for {
		asked := false
		select {
		case <-n.ctx.Done():
			return
		case <-n.remake:
			asked = true
		case <-tick.C:
		}
		if !asked && (n.machine.replay() < maxReplay || n.cfg.Boot() < next) {
			continue
		}
		if err := n.Snapshot(); err != nil && !errors.Is(err, raft.ErrRaftShutdown) {
			n.log.Warn("a snapshot is due and cannot be made now", "error", err)
			next = n.cfg.Boot() + snapshotRetry
		}
	}
}

// scrubSnapshots reads all snapshots once the node is ready, and then daily: a damaged one
// is to be replaced while the log still has what followed the one before.
func (n *Node) scrubSnapshots() {
	select {
	case <-n.ctx.Done():
		return
	case <-n.ready:
	}
	for ; n.ctx.Err() == nil; pause(n.ctx, snapshotScrub) {
		if err := n.snaps.scrub(); err != nil {
			n.log.Warn("check the snapshots", "error", err)
		}
	}
}
