package consensus

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/node/consensus/logstore"
)

const (
	// maxReplay is how long a restart may take to apply what followed the last snapshot.
	maxReplay = 10 * time.Second
	// snapshotShare is how many times longer than the last snapshot took the state machine has
	// to have worked before the next: a large state that is being filled would otherwise do little
	// else but copy itself.
	snapshotShare = 4
	// snapshotRetry is the pause after a snapshot that was due and could not be made.
	snapshotRetry = time.Minute
	// snapshotScrub is how often the snapshots are read and compared with their checksums.
	snapshotScrub = 24 * time.Hour
	// stateScrub is how often the state is read and compared with its hash.
	stateScrub = 24 * time.Hour
	// compactFrom and compactEach are the defaults of Config's.
	compactFrom = 64 << 20
	compactEach = time.Minute
)

// keeps says that the state's file holds all that the snapshot has.
func (n *Node) keeps(newest uint64) bool { return n.fsm.Kept() && n.fsm.Applied() >= newest }

// openSnapshots opens the snapshots and gives the index of the newest. If the state has to
// be restored, that one is known to be good: a damaged one is set aside. The log keeps what
// follows the oldest, so that there is a way from each snapshot to now.
func (n *Node) openSnapshots(dir string, raftLog hclog.Logger) (newest uint64, err error) {
	if n.snaps, err = logstore.OpenSnapshots(dir, n.log, raftLog, n.wantSnapshot); err != nil {
		return 0, err
	}
	if newest, _, err = n.snaps.Bounds(); err != nil {
		return 0, err
	}
	if !n.keeps(newest) {
		if err := n.snaps.Settle(); err != nil {
			return 0, err
		}
		if newest, _, err = n.snaps.Bounds(); err != nil {
			return 0, err
		}
	}
	first, err := n.store.FirstIndex()
	if err != nil {
		return 0, err
	}
	if first > newest+1 {
		return 0, fmt.Errorf("%w: the log begins at entry %d, the newest good snapshot ends at %d", logstore.ErrCorrupt, first, newest)
	}
	n.store.KeepAfter(func() uint64 {
		_, oldest, err := n.snaps.Bounds()
		if err != nil {
			return 0 // nothing is deleted until it is known
		}
		return oldest
	})
	return newest, nil
}

// wantSnapshot asks for a snapshot soon.
func (n *Node) wantSnapshot() {
	select {
	case n.remake <- struct{}{}:
	default:
	}
}

// Snapshot makes a snapshot now; none is needed if nothing changed since the last.
func (n *Node) Snapshot() error {
	err := n.raft.Snapshot().Error()
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make snapshot: %w", err)
	}
	return nil
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
		due := max(maxReplay, snapshotShare*n.machine.SnapshotCost())
		if !asked && (n.machine.Replay() < due || n.cfg.Boot() < next) {
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
		if err := n.snaps.Scrub(); err != nil {
			n.log.Warn("check the snapshots", "error", err)
		}
	}
}

// compactState makes the state's file small again when over a third of it is free, for it never shrinks by itself. Commands wait
// for that on this node alone: a leader hands over before, if another can lead.
func (n *Node) compactState() {
	select {
	case <-n.ctx.Done():
		return
	case <-n.ready:
	}
	for ; n.ctx.Err() == nil; pause(n.ctx, n.cfg.CompactEach) {
		if !n.fsm.Wasteful(n.cfg.CompactFrom) {
			continue
		}
		if err := n.StepDown(n.ctx); err != nil {
			n.log.Warn("the state's file is not compacted: this node leads", "error", err)
			continue
		}
		began := n.cfg.Boot()
		freed, err := n.fsm.Compact(n.cfg.CompactFrom)
		switch {
		case errors.Is(err, frame.ErrDamaged):
			n.cfg.Fatal(fmt.Errorf("the state is not what it should be and is made anew at the next start: %w", err))
			return
		case err != nil:
			n.log.Warn("the state's file is not compacted", "error", err)
		case freed > 0:
			n.log.Info("the state's file is compacted", "freed_bytes", freed, "took", n.cfg.Boot()-began)
		}
	}
}

// scrubState reads the whole state and compares it with its hash, daily, and at once after a run that was
// killed. A node whose state is damaged stops: its next start makes the state anew of the newest snapshot and
// the log.
func (n *Node) scrubState() {
	select {
	case <-n.ctx.Done():
		return
	case <-n.ready:
	}
	if !n.fsm.Unclean() {
		pause(n.ctx, stateScrub)
	}
	for ; n.ctx.Err() == nil; pause(n.ctx, stateScrub) {
		if err := n.fsm.Scrub(); err != nil && n.ctx.Err() == nil {
			n.cfg.Fatal(fmt.Errorf("the state is not what it should be and is made anew at the next start: %w", err))
			return
		}
	}
}
