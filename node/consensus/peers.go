package consensus

import (
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/node/consensus/quiet"
)

// unreachableAfter is for how long a peer may be silent before a line is logged, times the
// multiplier: raft tries again at once, so a single failure is no news.
const unreachableAfter = time.Second

// watchPeers observes raft until the node stops.
func (n *Node) watchPeers() {
	seen := make(chan raft.Observation, 64)
	o := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.FailedHeartbeatObservation, raft.ResumedHeartbeatObservation, raft.PeerObservation, raft.RaftState:
			return true
		}
		return false
	})
	n.raft.RegisterObserver(o)
	defer n.raft.DeregisterObserver(o)
	w := &quiet.Peers{Logger: n.log, After: time.Duration(n.cfg.Multiplier) * unreachableAfter, Name: n.nameOf}
	for {
		select {
		case <-n.ctx.Done():
			return
		case o := <-seen:
			w.Observe(o.Data, time.Now())
		}
	}
}

// nameOf is the configured name of a node, "" if it is not registered.
func (n *Node) nameOf(id string) string {
	if m, ok := n.fsm.Member(id); ok {
		return m.Name
	}
	return ""
}
