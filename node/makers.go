package node

import "github.com/conclave-llm/conclave/proxy/stored"

// maker is this process, as the others know who makes a response in the background: its node and
// the epoch that it took when it started.
func (n *Node) maker() (stored.Maker, bool) {
	epoch := n.state.Epoch(n.identity.NodeID)
	return stored.Maker{Node: n.identity.NodeID, Epoch: epoch}, epoch != 0 && n.money.opened.Load()
}

// makerLost says whether a process is no more: its node has started again, or was removed.
func (n *Node) makerLost(m stored.Maker) bool {
	return n.state.Epoch(m.Node) != m.Epoch || !n.isMember(m.Node)
}
