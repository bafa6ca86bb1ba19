package node

import (
	"context"
	"time"

	"github.com/conclave-llm/conclave/adminapi"
	"github.com/conclave-llm/conclave/fsm"
)

// members is the cluster as the admin API sees it.
type members struct{ n *Node }

// Members implements adminapi.Cluster.
func (m members) Members(ctx context.Context) []adminapi.Member {
	all := m.n.consensus.Members(ctx)
	out := make([]adminapi.Member, len(all))
	for i, s := range all {
		out[i] = adminapi.Member{
			ID: s.ID, Name: s.Name, Address: s.Address, ClientURL: s.ClientURL, Voter: s.Voter, Leader: s.Leader,
			Reachable: s.Reachable, Applied: s.Applied, Lag: s.Lag, LastTick: s.LastTick,
		}
	}
	return out
}

// JoinToken implements adminapi.Cluster.
func (m members) JoinToken(ctx context.Context, by fsm.Actor, requestID string, ttl time.Duration) (string, error) {
	return m.n.consensus.JoinToken(ctx, by, requestID, ttl)
}

// Remove implements adminapi.Cluster.
func (m members) Remove(ctx context.Context, by fsm.Actor, requestID, id string) error {
	return m.n.consensus.Remove(ctx, by, requestID, id)
}

// Transfer implements adminapi.Cluster.
func (m members) Transfer(ctx context.Context, id string) error {
	return m.n.consensus.Transfer(ctx, id)
}

// Confirm implements adminapi.Cluster.
func (m members) Confirm(ctx context.Context, index uint64, wait time.Duration) []string {
	return m.n.consensus.ConfirmApplied(ctx, index, wait)
}
