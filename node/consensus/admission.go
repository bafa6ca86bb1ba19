package consensus

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/node/consensus/join"
	"github.com/conclave-llm/conclave/node/transport"
	"github.com/conclave-llm/conclave/resource"
)

// admission is this node as a newcomer asks it. It implements join.Cluster.
type admission struct{ *Node }

// newAdmitter makes what answers newcomers through n.
func newAdmitter(n *Node) *join.Admitter {
	return join.NewAdmitter(join.AdmitterConfig{
		Cluster: admission{n}, State: n.fsm, KEK: n.cfg.Keeper.Bytes, CAKey: n.caKey, Logger: n.log,
	})
}

// caKey opens the sealed key of the CA.
func (n *Node) caKey(sealed []byte) ([]byte, error) { return n.cfg.Keeper.Unwrap(sealed, PurposeCA) }

// serveJoins answers join/1 until the node stops.
func (n *Node) serveJoins() { n.joins.Serve(n.ctx, n.cfg.Transport.Listener(transport.Join)) }

// onJoin answers AskLeader of another node.
func (n *Node) onJoin(ctx context.Context, _ string, question []byte) ([]byte, error) {
	return n.joins.Answer(ctx, question)
}

// AskLeader implements join.Cluster.
func (a admission) AskLeader(ctx context.Context, question []byte) ([]byte, error) {
	id, _, ok := a.Leader()
	if !ok || id == a.id {
		return nil, resource.ErrNoLeader
	}
	return a.rpc.Call(ctx, id, methodJoin, question)
}

// Register implements join.Cluster.
func (a admission) Register(ctx context.Context, m resource.Member, token resource.Hash) error {
	_, err := a.Propose(ctx, a.self(), "", fsm.RegisterMember{Member: m, Token: token})
	return err
}

// AddServer implements join.Cluster.
func (a admission) AddServer(ctx context.Context, id, address string) error {
	for { // the leader's loop takes out who was replaced
		at, taken := a.ServerAt(address)
		if !taken || at == id {
			break
		}
		a.wake()
		if pause(ctx, 20*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("address %s is still that of node %s: %w", address, at, ctx.Err())
		}
	}
	return waitFuture(ctx, a.add(raft.Nonvoter, raft.ServerID(id), raft.ServerAddress(address), 0))
}

// ServerAt implements join.Cluster.
func (a admission) ServerAt(address string) (string, bool) {
	for _, s := range a.raft.GetConfiguration().Configuration().Servers {
		if string(s.Address) == address {
			return string(s.ID), true
		}
	}
	return "", false
}

// TokenRequest is a join token that is to be made.
type TokenRequest struct {
	By        fsm.Actor
	RequestID string
	TTL       time.Duration
	Replaces  string // id of the member that its use removes; "": none
	DryRun    bool   // check only
}

// JoinToken makes a token with which one node can join until ttl is over. It is shown once;
// the cluster keeps its hash. One that replaces a member is refused if the rest would have no
// quorum.
func (n *Node) JoinToken(ctx context.Context, r TokenRequest) (string, error) {
	if err := n.AwaitLeader(ctx); err != nil {
		return "", fmt.Errorf("make join token: %w", err)
	}
	info, ok := n.fsm.Cluster()
	if !ok {
		return "", fmt.Errorf("make join token: %w", resource.ErrNoLeader)
	}
	if r.Replaces != "" {
		if err := n.mayLeave(ctx, r.Replaces); err != nil {
			return "", fmt.Errorf("replace node %s: %w", r.Replaces, err)
		}
	}
	tok, err := join.NewToken(info.ClusterID, info.CACert)
	if err != nil || r.DryRun {
		return "", err
	}
	_, err = n.Propose(ctx, r.By, r.RequestID, fsm.PutJoinToken{
		Hash: tok.Hash(), Expires: resource.At(clock.Now().Add(r.TTL)), Listed: true, Replaces: r.Replaces,
	})
	if err != nil {
		return "", fmt.Errorf("make join token: %w", err)
	}
	return tok.String(), nil
}
