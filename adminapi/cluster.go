package adminapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// The life of a join token: the default and the bound.
const (
	joinTTL    = 15 * time.Minute
	maxJoinTTL = 24 * time.Hour
)

type (
	clusterOutput struct {
		Body client.Cluster
	}
	egressOutput struct {
		Body client.Egress
	}
	joinTokenInput struct {
		Body struct {
			TTL string `json:"ttl,omitempty" doc:"how long the token is valid: 15m"`
		}
	}
	joinTokenOutput struct {
		Body client.JoinToken
	}
	transferInput struct {
		Body struct {
			To string `json:"to,omitempty" doc:"id or name of the new leader; default: any other voter"`
		}
	}
	emptyInput struct{}
)

func (s *Server) registerCluster() {
	register(s, "get-cluster", http.MethodGet, "/cluster", "Members, leader and lag", s.showCluster)
	register(s, "get-egress", http.MethodGet, "/cluster/egress", "What the nodes may dial, who names it, and what they did", s.showEgress)
	register(s, "create-join-token", http.MethodPost, "/cluster/join-tokens", "Make a token for one node to join with", s.makeJoinToken)
	register(s, "transfer-leadership", http.MethodPost, "/cluster/transfer", "Hand the leadership over", s.transfer)
	register(s, "delete-node", http.MethodDelete, "/cluster/nodes/{id}", "Remove a node for ever", s.removeNode)
}

func (s *Server) showCluster(ctx context.Context, _ *emptyInput) (*clusterOutput, error) {
	info, _ := s.cfg.State.Cluster()
	out := client.Cluster{
		ID:         info.ClusterID,
		Generation: s.cfg.State.Generation(),
		Applied:    s.cfg.State.Applied(),
		Members:    []client.Member{},
	}
	for _, m := range s.cfg.Cluster.Members(ctx) {
		if m.Leader {
			out.Leader = m.ID
		}
		out.Members = append(out.Members, client.Member{
			ID: m.ID, Name: m.Name, Address: m.Address, ClientURL: m.ClientURL,
			Voter: m.Voter, Leader: m.Leader, Reachable: m.Reachable, Applied: m.Applied, Lag: m.Lag,
			LastTick: resource.At(m.LastTick),
		})
	}
	return &clusterOutput{Body: out}, nil
}

func (s *Server) showEgress(ctx context.Context, _ *emptyInput) (*egressOutput, error) {
	return &egressOutput{Body: client.Egress{Nodes: s.cfg.Cluster.Egress(ctx)}}, nil
}

func (s *Server) makeJoinToken(ctx context.Context, in *joinTokenInput) (*joinTokenOutput, error) {
	ttl := joinTTL
	if in.Body.TTL != "" {
		d, err := records.ParseDuration(in.Body.TTL)
		if err != nil || d <= 0 || d > maxJoinTTL {
			return nil, s.problem(invalid("ttl", "is not a duration up to 24h such as 15m"))
		}
		ttl = d
	}
	c := callerOf(ctx)
	token, err := s.cfg.Cluster.JoinToken(ctx, c.Actor(), c.RequestID, ttl)
	if err != nil {
		return nil, s.problem(err)
	}
	return &joinTokenOutput{Body: client.JoinToken{Token: token, Expires: resource.At(s.cfg.Now().Add(ttl))}}, nil
}

func (s *Server) transfer(ctx context.Context, in *transferInput) (*doneOutput, error) {
	id := ""
	if in.Body.To != "" {
		m, err := s.member(ctx, in.Body.To)
		if err != nil {
			return nil, s.problem(err)
		}
		id = m.ID
	}
	return s.done(records.Written{}, s.cfg.Cluster.Transfer(ctx, id))
}

func (s *Server) removeNode(ctx context.Context, in *RefInput) (*doneOutput, error) {
	m, err := s.member(ctx, in.Ref)
	if err != nil {
		return nil, s.problem(err)
	}
	c := callerOf(ctx)
	return s.done(records.Written{}, s.cfg.Cluster.Remove(ctx, c.Actor(), c.RequestID, m.ID))
}

// member finds a member by id, or by a name that only one has.
func (s *Server) member(ctx context.Context, ref string) (Member, error) {
	var named []Member
	for _, m := range s.cfg.Cluster.Members(ctx) {
		if m.ID == ref {
			return m, nil
		}
		if m.Name == ref {
			named = append(named, m)
		}
	}
	if len(named) == 1 {
		return named[0], nil
	}
	return Member{}, fmt.Errorf("node %q: %w", ref, resource.ErrNotFound)
}
