package adminapi

import (
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/membership"
	"github.com/conclave-llm/conclave/adminapi/records"
)

type (
	// DryRun is the parameter of operations that can only be checked. It is exported because
	// huma looks into embedded fields only if they are.
	DryRun struct {
		DryRun bool `query:"dry_run" doc:"check only: answer as the change would, and change nothing"`
	}
	nodeInput struct {
		RefInput
		DryRun
	}
	tokenBody struct {
		TTL string `json:"ttl,omitempty" doc:"how long the token is valid: 15m"`
	}
	joinTokenInput struct {
		DryRun
		Body tokenBody
	}
	replaceInput struct {
		RefInput
		DryRun
		Body tokenBody
	}
	transferInput struct {
		DryRun
		Body struct {
			To string `json:"to,omitempty" doc:"id or name of the new leader; default: any other voter"`
		}
	}
	rotateKeyInput struct {
		Kind string `path:"kind" enum:"kek,dek,ca,gossip,node-certs" doc:"which of the cluster's own keys"`
		DryRun
		Body client.RotateKey
	}
	emptyInput struct{}
)

// membership is what is done with nodes.
func (s *Server) membership() *membership.API {
	return membership.New(membership.Config{
		Cluster: s.cfg.Cluster, Rotator: s.cfg.Rotator, State: s.cfg.State, Store: s.cfg.Store, Now: s.cfg.Now,
		Record: func(ctx context.Context, by records.Caller, action, id string) error {
			return s.cfg.Auditor.Record(ctx, event(by, action, "node", id))
		},
	})
}

// registerCluster registers what is asked and wished about the nodes.
func (s *Server) registerCluster() {
	m := s.membership()
	register(s, "get-cluster", http.MethodGet, "/cluster", "Members, leader and lag",
		func(ctx context.Context, _ *emptyInput) (*bodyOutput[client.Cluster], error) {
			return body(s, m.Show(ctx), nil)
		})
	register(s, "get-egress", http.MethodGet, "/cluster/egress", "What the nodes may dial, who names it, and what they did",
		func(ctx context.Context, _ *emptyInput) (*bodyOutput[client.Egress], error) {
			return body(s, client.Egress{Nodes: s.cfg.Cluster.Egress(ctx)}, nil)
		})
	s.registerNodes(m)
	s.registerJoinTokens(m)
	register(s, "list-cluster-rotations", http.MethodGet, "/cluster/rotate", "The newest rotation of each of the cluster's own keys",
		func(context.Context, *emptyInput) (*listOutput[client.ClusterRotation], error) {
			all := m.Rotations()
			return &listOutput[client.ClusterRotation]{Body: client.Page[client.ClusterRotation]{Items: all, Total: len(all)}}, nil
		})
	register(s, "rotate-cluster-key", http.MethodPost, "/cluster/rotate/{kind}", "Exchange one of the cluster's own keys while it runs",
		func(ctx context.Context, in *rotateKeyInput) (*bodyOutput[client.ClusterRotation], error) {
			out, err := m.Rotate(ctx, callerOf(ctx), in.Kind, in.Body.Overlap, in.DryRun.DryRun)
			return body(s, out, err)
		})
	register(s, "transfer-leadership", http.MethodPost, "/cluster/transfer", "Hand the leadership over",
		func(ctx context.Context, in *transferInput) (*bodyOutput[client.NodeChange], error) {
			out, err := m.Change(ctx, callerOf(ctx), "transfer", in.Body.To, in.DryRun.DryRun)
			return body(s, out, err)
		})
}

// led refuses what is only tried while nobody leads: it would be refused if it were done.
func (s *Server) led(ctx huma.Context, next func(huma.Context)) {
	if dry, err := strconv.ParseBool(ctx.Query("dry_run")); err == nil && dry {
		if err := s.cfg.Led(ctx.Context()); err != nil {
			_, w := humago.Unwrap(ctx)
			s.writeProblem(w, err)
			return
		}
	}
	next(ctx)
}

// registerNodes registers the operations on one node.
func (s *Server) registerNodes(m *membership.API) {
	const path = "/cluster/nodes"
	register(s, "list-nodes", http.MethodGet, path, "List the nodes",
		func(ctx context.Context, _ *emptyInput) (*listOutput[client.Member], error) {
			all := m.Show(ctx).Members
			return &listOutput[client.Member]{Body: client.Page[client.Member]{Items: all, Total: len(all)}}, nil
		})
	register(s, "get-node", http.MethodGet, path+"/{id}", "Read one node",
		func(ctx context.Context, in *RefInput) (*bodyOutput[client.Member], error) {
			out, err := m.Node(ctx, in.Ref)
			return body(s, out, err)
		})
	change := func(verb string) func(context.Context, *nodeInput) (*bodyOutput[client.NodeChange], error) {
		return func(ctx context.Context, in *nodeInput) (*bodyOutput[client.NodeChange], error) {
			out, err := m.Change(ctx, callerOf(ctx), verb, in.Ref, in.DryRun.DryRun)
			return body(s, out, err)
		}
	}
	register(s, "delete-node", http.MethodDelete, path+"/{id}", "Remove a node for ever", change("remove"))
	for verb, summary := range map[string]string{
		"promote": "Let a node vote again, as soon as it has caught up",
		"demote":  "Take a node's vote until it is promoted",
		"drain":   "Take traffic and leadership from a node until it is undrained",
		"undrain": "End the drain of a node",
		"repair":  "Have a node fetch the state anew from the leader, and end its quarantine",
	} {
		register(s, verb+"-node", http.MethodPost, path+"/{id}/"+verb, summary, change(verb))
	}
	register(s, "replace-node", http.MethodPost, path+"/{id}/replace", "Make a token whose use removes a node and lets another in",
		func(ctx context.Context, in *replaceInput) (*bodyOutput[client.JoinToken], error) {
			out, err := m.Replace(ctx, callerOf(ctx), in.Ref, in.Body.TTL, in.DryRun.DryRun)
			return body(s, out, err)
		})
}

// registerJoinTokens registers the operations on join tokens.
func (s *Server) registerJoinTokens(m *membership.API) {
	const path = "/cluster/join-tokens"
	register(s, "list-join-tokens", http.MethodGet, path, "List the join tokens that can be used, without their secrets",
		func(context.Context, *emptyInput) (*listOutput[client.JoinToken], error) {
			all := m.Tokens()
			return &listOutput[client.JoinToken]{Body: client.Page[client.JoinToken]{Items: all, Total: len(all)}}, nil
		})
	register(s, "create-join-token", http.MethodPost, path, "Make a token for one node to join with",
		func(ctx context.Context, in *joinTokenInput) (*bodyOutput[client.JoinToken], error) {
			out, err := m.MakeToken(ctx, callerOf(ctx), in.Body.TTL, in.DryRun.DryRun)
			return body(s, out, err)
		})
	register(s, "revoke-join-token", http.MethodDelete, path+"/{id}", "Make a join token useless",
		func(ctx context.Context, in *nodeInput) (*doneOutput, error) {
			return s.done(records.Written{}, m.Revoke(ctx, callerOf(ctx), in.Ref, in.DryRun.DryRun))
		})
}

// body answers with v, or a problem.
func body[V any](s *Server, v V, err error) (*bodyOutput[V], error) {
	if err != nil {
		return nil, s.problem(err)
	}
	return &bodyOutput[V]{Body: v}, nil
}
