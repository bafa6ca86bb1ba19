package adminapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/resource"
)

// noGateway stands for a gateway where there is none.
type noGateway struct{}

// Tools implements mcp.Gateway.
func (noGateway) Tools(context.Context, *resource.Principal) []client.MCPTool {
	return []client.MCPTool{}
}

// Health implements mcp.Gateway.
func (noGateway) Health(context.Context, string) error {
	return errors.New("servers cannot be asked here")
}

// Grants implements mcp.Gateway.
func (noGateway) Grants(context.Context, *resource.Principal, string) ([]client.MCPGrant, error) {
	return nil, nil
}

// Forget implements mcp.Gateway.
func (noGateway) Forget(context.Context, *resource.Principal, string) error {
	return resource.ErrNotFound
}

// registerMCP registers what asks the MCP servers themselves. Everybody sees his own tools.
func (s *Server) registerMCP() {
	type tools struct{ Body client.MCPTools }
	register(s, "list-mcp-tools", http.MethodGet, "/mcp/tools", "List the tools of MCP servers that the key may call",
		func(ctx context.Context, _ *struct{}) (*tools, error) {
			by := callerOf(ctx)
			return &tools{client.MCPTools{Items: s.cfg.MCP.Tools(ctx, &by.Who)}}, nil
		})
	type grants struct{ Body client.MCPGrants }
	register(s, "list-mcp-grants", http.MethodGet, "/mcp/grants", "List the MCP servers that ask for OAuth, and where the caller has allowed the gateway to act for him",
		func(ctx context.Context, _ *struct{}) (*grants, error) {
			by := callerOf(ctx)
			all, err := s.cfg.MCP.Grants(ctx, &by.Who, "")
			if err != nil {
				return nil, s.problem(err)
			}
			return &grants{client.MCPGrants{Items: append([]client.MCPGrant{}, all...)}}, nil
		})
	register(s, "delete-mcp-grant", http.MethodDelete, "/mcp/grants/{id}", "Forget what the caller has allowed at an MCP server",
		func(ctx context.Context, in *RefInput) (*struct{}, error) {
			by := callerOf(ctx)
			if err := s.cfg.MCP.Forget(ctx, &by.Who, in.Ref); err != nil {
				return nil, s.problem(err)
			}
			return nil, nil
		})
	type health struct{ Body client.MCPHealth }
	register(s, "get-mcp-health", http.MethodGet, "/mcp/servers/{id}/health", "Ask an MCP server whether it is there",
		func(ctx context.Context, in *RefInput) (*health, error) {
			r, err := s.rs.MCPServers.One(callerOf(ctx), in.Ref)
			if err != nil {
				return nil, s.problem(err)
			}
			out := client.MCPHealth{Server: r.Name, Healthy: true}
			if err := s.cfg.MCP.Health(ctx, r.ID); err != nil {
				out.Healthy, out.Error = false, err.Error()
			}
			return &health{out}, nil
		})
}
