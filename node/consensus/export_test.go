package consensus

import (
	"context"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/node/consensus/intake"
)

// Hang makes the node's gate believe that a write of the log is under way.
func (n *Node) Hang() { n.gate.Begin() }

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

// Replay is how long the node has worked since its last snapshot.
func (n *Node) Replay() time.Duration { return n.machine.Replay() }

// SnapshotBounds are the indexes of the newest and the oldest snapshot.
func (n *Node) SnapshotBounds() (newest, oldest uint64) {
	newest, oldest, _ = n.snaps.Bounds()
	return newest, oldest
}

// ScrubSnapshots reads the snapshots now.
func (n *Node) ScrubSnapshots() error { return n.snaps.Scrub() }

// Fill has the leader take no more entries of the class until the returned function is called.
func (n *Node) Fill(ctx context.Context, c intake.Class) (empty func(), err error) {
	return n.intake.Enter(ctx, c, 1<<30)
}

// Enqueue appends an entry to the leader's log without a wait.
func (n *Node) Enqueue(data []byte) raft.ApplyFuture { return n.raft.Apply(data, time.Minute) }
