package node

import (
	"context"
	"net/http"
	"time"

	"github.com/hashicorp/raft" //nolint:depguard // plays the part of a faulty machine

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/artifacts"
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

// Early answers requests until the node is built.
func (n *Node) Early() http.Handler { return n.early() }

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

// Quarantine marks a member as the leader does whose state differs from that of most.
func (n *Node) Quarantine(ctx context.Context, id, reason string) error {
	_, err := n.consensus.Propose(ctx, fsm.Actor{Kind: "node", ID: n.ID()}, "", fsm.MarkMember{ID: id, Mark: fsm.MarkQuarantined, Reason: reason})
	return err
}

// Diverge has this node's state take in an entry of the term that no other has, in the place of the next one.
func (n *Node) Diverge(term uint64) error {
	enc, err := fsm.EncodedOf(resource.Team{Meta: resource.Meta{ID: "only-here"}, Name: "only-here"})
	if err != nil {
		return err
	}
	b, err := fsm.Encode(fsm.Envelope{At: resource.At(time.Now()), Actor: fsm.Actor{Kind: "master"}, ReadIndex: n.state.Applied(), CommandID: [16]byte{1}}, fsm.PutTeam{Team: enc})
	if err != nil {
		return err
	}
	a, _ := n.state.Apply(&raft.Log{Index: n.state.Applied() + 1, Term: term, Type: raft.LogCommand, Data: b}).(fsm.Applied)
	return a.Err
}

// Artifacts are the node's.
func (n *Node) Artifacts() *artifacts.Store { return n.artifacts }
