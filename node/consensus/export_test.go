package consensus

import "time"

// Hang makes the node's gate believe that a write of the log hangs, or does no more.
func (n *Node) Hang(on bool) {
	if on {
		n.gate.writing.Store(int64(n.cfg.Boot() - n.gate.limit - 1))
	} else {
		n.gate.writing.Store(0)
	}
}

// LoseTail deletes the last entries behind the witness's back.
func LoseTail(s *Store, from uint64) error {
	return s.deleteKeys(from, s.last.Load())
}

// KeepNoLogs makes the next snapshot drop all entries but the last few.
func (n *Node) KeepNoLogs() error {
	rc := n.raft.ReloadableConfig()
	rc.TrailingLogs = 2
	return n.raft.ReloadConfig(rc)
}

// FirstLog is the first entry that the log still has.
func (n *Node) FirstLog() uint64 {
	first, _ := n.store.FirstIndex()
	return first
}

// MaxReplay is when a snapshot is due.
const MaxReplay = maxReplay

// SpendReplay makes the node believe that it has worked so long since its last snapshot.
func (n *Node) SpendReplay(d time.Duration) { n.machine.spent.Add(int64(d)) }

// Replay is how long the node has worked since its last snapshot.
func (n *Node) Replay() time.Duration { return n.machine.replay() }

// SnapshotBounds are the indexes of the newest and the oldest snapshot.
func (n *Node) SnapshotBounds() (newest, oldest uint64) {
	newest, oldest, _ = n.snaps.bounds()
	return newest, oldest
}

// ScrubSnapshots reads the snapshots now.
func (n *Node) ScrubSnapshots() error { return n.snaps.scrub() }
