package node

import (
	"time"

	"github.com/conclave-llm/conclave/node/blob"
	"github.com/conclave-llm/conclave/node/turns"
	"github.com/conclave-llm/conclave/resource"
)

// Age makes the node believe that its last tick is older by d.
func (n *Node) Age(d time.Duration) {
	for {
		sent := n.fresh.sent.Load()
		if n.fresh.sent.CompareAndSwap(sent, sent-int64(d)) {
			return
		}
	}
}

// SignedAnchor signs an anchor as the node does, and gives the certificate to check it with.
func (n *Node) SignedAnchor() (a resource.AuditAnchor, ca []byte, err error) {
	info, _ := n.state.Cluster()
	a = resource.AuditAnchor{Cluster: info.ClusterID, Number: 7}
	return a, info.CACert, n.signAnchor(&a)
}

// Turns are the node's.
func (n *Node) Turns() *turns.Store { return n.turns }

// Blobs are the node's.
func (n *Node) Blobs() *blob.Store { return n.blobs }
