package consensus

import (
	"bytes"
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// hashInterval is how often a leader compares the states of the nodes.
const hashInterval = time.Second

// hashWatch compares the state hash that each node told in its last tick with the leader's
// own at the same index. States that differ never become equal again by themselves: it raises the
// alarm, and all members are asked who is in the minority (judge). Its methods belong to the
// leader's loop.
type hashWatch struct {
	log    *slog.Logger
	differ map[string]bool // nodes that were logged
	count  atomic.Int64    // of nodes that differ, for the metric
	next   time.Duration   // boot time of the next comparison
}

// compare takes the nodes whose hash could be compared, with the outcome.
func (w *hashWatch) compare(self string, equal map[string]bool) {
	wrong := 0
	for _, ok := range equal {
		if !ok {
			wrong++
		}
	}
	minority := 2*wrong < len(equal)+1 // of those and the leader
	for id, ok := range equal {
		switch {
		case ok:
			delete(w.differ, id)
		case w.differ[id]:
		case minority:
			w.differ[id] = true
			w.log.Error("the state of a node differs from the cluster's", "peer", id)
		default:
			w.differ[id] = true
			w.log.Error("the states of two nodes differ, and it is not known which is right", "leader", self, "peer", id)
		}
	}
	w.count.Store(int64(wrong))
}

// compareStates compares what the ticks told, now and then.
func (n *Node) compareStates(ctx context.Context) {
	now := n.cfg.Boot()
	if now < n.hashes.next {
		return
	}
	n.hashes.next = now + hashInterval
	equal := map[string]bool{}
	for _, m := range n.fsm.Catalog().Tables().Members {
		if m.Removed || m.Quarantined != "" || m.ID == n.id {
			continue
		}
		node, ok := n.fsm.Node(m.ID)
		if !ok || len(node.Hash) != 16 {
			continue
		}
		if mine, ok := n.fsm.HashAt(node.Applied); ok { // it may be too long ago
			equal[m.ID] = bytes.Equal(mine[:], node.Hash)
		}
	}
	n.hashes.compare(n.id, equal)
	if n.hashes.count.Load() > 0 {
		n.judge(ctx)
	}
}
