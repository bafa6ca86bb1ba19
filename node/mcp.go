package node

import (
	"context"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/auth"
	"github.com/conclave-llm/conclave/proxy/mcp"
	"github.com/conclave-llm/conclave/resource"
)

// startMCP makes the gateway to MCP servers, whose connections are dropped when the servers'
// records change.
func (n *Node) startMCP() (err error) {
	n.auth = auth.New(auth.Config{Keys: n.state, Miss: n.miss, Master: n.master, Plugins: n.auths})
	n.mcp, err = mcp.New(mcp.Config{
		NodeID: n.cfg.Name, Version: n.cfg.Version, Catalog: n.state.Catalog, Auth: n.auth, Serving: n.serving, Customers: n.state,
		Limits: n.limits, Budgets: n.budgets, Guards: n.plugins.Guardrails(), Journal: n.journal, Secrets: n.opener(), Blob: n.namedBlob,
		Tokens: mcpTokens{n}, Sealer: n.keys,
		Keep: func(s mcp.Said) {
			n.keepContent(proxy.Said{RequestID: s.RequestID, Time: s.Time, Who: s.Who, Customer: s.Customer, Tags: s.Tags, Request: s.Request, Response: s.Response, Guards: s.Guards, Info: s.Info})
		},
		Dial: n.egress.DialContext, Proxy: n.egress.Proxy, WorkDir: n.workDir(), Logger: n.log, Registerer: n.registry,
	})
	if err != nil {
		return err
	}
	n.wg.Go(func() {
		for {
			select {
			case <-n.ctx.Done():
				return
			case <-n.servers:
				n.mcp.Sync()
			}
		}
	})
	return nil
}

// mcpServers is the gateway as the admin API asks it.
type mcpServers struct{ *mcp.Gateway }

// Tools implements the admin API's Gateway.
func (s mcpServers) Tools(ctx context.Context, who *resource.Principal) []client.MCPTool {
	out := []client.MCPTool{}
	for _, t := range s.Gateway.Tools(ctx, who) {
		out = append(out, client.MCPTool(t))
	}
	return out
}

// Grants implements the admin API's Gateway.
func (s mcpServers) Grants(ctx context.Context, who *resource.Principal, server string) (out []client.MCPGrant, err error) {
	all, err := s.Gateway.Grants(ctx, who, server)
	for _, g := range all {
		out = append(out, client.MCPGrant{Server: g.Server.Name, ServerID: g.Server.ID, Allowed: g.Allowed, ExpiresAt: g.Until, Scopes: g.Scopes, URL: g.URL})
	}
	return out, err
}
