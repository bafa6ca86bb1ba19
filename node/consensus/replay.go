package consensus

import (
	"errors"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// maxReplay is how long a restart may take to apply what followed the last snapshot.
	maxReplay = 10 * time.Second
	// snapshotRetry is the pause after a snapshot that was due and could not be made.
	snapshotRetry = time.Minute
	// snapshotScrub is how often the snapshots are read and compared with their checksums.
	snapshotScrub = 24 * time.Hour
)

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
		if !asked && (n.machine.Replay() < maxReplay || n.cfg.Boot() < next) {
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
