package node

import (
	"context"
	"fmt"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// leaderLook is how often a leader is looked for while there is none.
const leaderLook = 50 * time.Millisecond

// mcpTokens are the tokens of people at MCP servers, in the replicated state.
type mcpTokens struct{ n *Node }

// Token implements oauth.Store. One that this node does not know may have been stored a moment ago:
// the leader is asked.
func (s mcpTokens) Token(ctx context.Context, id string) (t *resource.MCPToken, version uint64, ok bool, err error) {
	if t, version, ok = s.n.state.MCPToken(id); ok {
		return t, version, ok, nil
	}
	return s.Newest(ctx, id)
}

// Newest implements oauth.Store. While another leader is elected it waits.
func (s mcpTokens) Newest(ctx context.Context, id string) (t *resource.MCPToken, version uint64, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, missWait)
	defer cancel()
	for {
		if err = s.n.miss(ctx, resource.Hash{}); err == nil {
			t, version, ok = s.n.state.MCPToken(id)
			return t, version, ok, nil
		}
		select {
		case <-ctx.Done():
			return nil, 0, false, fmt.Errorf("ask the leader for a token: %w", err)
		case <-time.After(leaderLook):
		}
	}
}

// Put implements oauth.Store.
func (s mcpTokens) Put(ctx context.Context, t *resource.MCPToken, read uint64, replace bool) (uint64, error) {
	e, err := fsm.EncodedOf(*t)
	if err != nil {
		return 0, err
	}
	return s.propose(ctx, fsm.PutMCPToken{Token: e, Read: read, Replace: replace})
}

// Delete implements oauth.Store.
func (s mcpTokens) Delete(ctx context.Context, id string) error {
	_, err := s.propose(ctx, fsm.DeleteMCPToken{ID: id})
	return err
}

func (s mcpTokens) propose(ctx context.Context, cmd fsm.Command) (index uint64, err error) {
	r, err := s.n.consensus.Propose(ctx, fsm.Actor{Kind: "node", ID: s.n.identity.NodeID}, "", cmd)
	return r.Index, err
}
