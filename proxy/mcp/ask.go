package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/conclave-llm/conclave/resource"
)

// Tool is a tool as the admin API shows it.
type Tool struct {
	Server, Name, Description string
	InputSchema               json.RawMessage
}

// Tools lists the tools that somebody may call, whoever asks for it.
func (g *Gateway) Tools(ctx context.Context, who *resource.Principal) (out []Tool) {
	c := &caller{g: g, cat: g.cfg.Catalog(), who: who, levels: who.Levels(nil), header: http.Header{}}
	for _, t := range c.tools(ctx) {
		s, _, err := c.find(t.Name)
		if err != nil {
			continue // its server has gone meanwhile
		}
		schema, _ := json.Marshal(t.InputSchema) // it was read from JSON
		out = append(out, Tool{Server: s.Name, Name: t.Name, Description: t.Description, InputSchema: schema})
	}
	return out
}

// Health asks a server whether it is there.
func (g *Gateway) Health(ctx context.Context, serverID string) error {
	c := &caller{g: g, cat: g.cfg.Catalog(), header: http.Header{}}
	for _, s := range c.cat.Tables().MCPServers {
		if s.ID != serverID {
			continue
		}
		if s.Disabled {
			return errors.New("the server is disabled")
		}
		return c.health(ctx, s)
	}
	return resource.ErrNotFound
}
