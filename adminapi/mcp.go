package adminapi

import (
	"context"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/client"
)

// registerMCP registers what asks the MCP servers themselves. Everybody sees his own tools.
func (s *Server) registerMCP() {
	if s.cfg.MCP == nil {
		return
	}
	type tools struct{ Body client.MCPTools }
	register(s, "list-mcp-tools", http.MethodGet, "/mcp/tools", "List the tools of MCP servers that the key may call",
		func(ctx context.Context, _ *struct{}) (*tools, error) {
			by := callerOf(ctx)
			return &tools{client.MCPTools{Items: s.cfg.MCP.Tools(ctx, &by.Who)}}, nil
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
