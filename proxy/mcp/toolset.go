package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/agent"
	"github.com/conclave-llm/conclave/resource"
)

// Toolset has the servers of one client of the data path, for the model that it asks.
func (g *Gateway) Toolset(c *agent.Client) agent.Toolset { return &toolset{g, c} }

type toolset struct {
	g *Gateway
	c *agent.Client
}

// caller is the client as the gateway knows callers, with the headers that an entry has for its servers.
func (t *toolset) caller(s *agent.Server) *caller {
	h := t.c.Header.Clone()
	for name, v := range s.Headers {
		h.Set(name, v)
	}
	return &caller{
		g: t.g, cat: t.c.Catalog, who: t.c.Who, levels: t.c.Levels, further: t.c.Levels[t.c.Own:], customer: t.c.Customer, tags: t.c.Tags,
		session: t.c.Session, secret: t.c.Secret, header: h, selected: listed(h, "X-Mcp-Servers", "X-Mcp-Access-Groups"),
	}
}

// Tools implements agent.Toolset.
func (t *toolset) Tools(ctx context.Context, s *agent.Server) ([]agent.Tool, error) {
	c := t.caller(s)
	var all []agent.Tool
	if s.URL == "" && s.Names == nil {
		for _, tool := range c.listed(ctx) {
			if !s.ReadOnly || readOnly(tool) {
				all = append(all, toolOf(tool, tool.Name, tool.Name))
			}
		}
		return all, nil
	}
	servers, err := c.named(s)
	if err != nil {
		return nil, err
	}
	for _, server := range servers {
		tools, err := offered(ctx, c, server, listTools, toolsOf)
		if err != nil {
			return nil, listFailed(ctx, server, err)
		}
		for _, tool := range tools {
			if tool == nil || !c.may(server, tool.Name) || s.ReadOnly && !readOnly(tool) {
				continue
			}
			full := server.Prefix() + separator + tool.Name
			shown := full
			if len(servers) == 1 {
				shown = tool.Name
			}
			all = append(all, toolOf(tool, shown, full))
		}
	}
	return all, nil
}

// named are the servers that an entry names: one by its address, or some by name or access group.
func (c *caller) named(s *agent.Server) (out []*resource.MCPServer, err error) {
	servers := c.servers()
	if s.URL != "" {
		at := func(url string) string { return strings.TrimRight(url, "/") }
		i := slices.IndexFunc(servers, func(r *resource.MCPServer) bool { return r.URL != "" && at(r.URL) == at(s.URL) })
		if i < 0 {
			return nil, agent.Unregistered(s.URL)
		}
		return servers[i : i+1], nil
	}
	for _, name := range s.Names {
		found := false
		for _, r := range servers {
			if r.Name != name && (r.Alias == "" || r.Alias != name) && r.ID != name && !slices.Contains(r.AccessGroups, name) {
				continue
			}
			if found = true; !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
		if !found {
			return nil, agent.Unregistered(name)
		}
	}
	return out, nil
}

func readOnly(t *sdk.Tool) bool { return t.Annotations != nil && t.Annotations.ReadOnlyHint }

func toolOf(t *sdk.Tool, shown, full string) agent.Tool {
	schema, _ := json.Marshal(t.InputSchema) // it was read from JSON
	return agent.Tool{Name: shown, Full: full, Description: t.Description, Schema: schema}
}

// listFailed is the error of a server that does not say what it has.
func listFailed(ctx context.Context, s *resource.MCPServer, err error) error {
	var e *llm.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(ctx.Err(), context.Canceled):
		return &llm.Error{Kind: llm.Canceled, Message: "The request was given up.", Err: err}
	}
	return &llm.Error{
		Kind: llm.Upstream, Code: "mcp_server_failed", Scope: "mcp_server", Entity: s.ID, Err: err,
		Message: "The MCP server " + s.Name + " does not say which tools it has.",
	}
}

// Call implements agent.Toolset.
func (t *toolset) Call(ctx context.Context, s *agent.Server, full string, arguments json.RawMessage) (agent.Result, error) {
	res, err := t.caller(s).call(ctx, full, arguments)
	var theirs *serverError
	if errors.As(err, &theirs) && !theirs.judged {
		return agent.Result{Text: cut(theirs.wire.Message, 4096), Failed: true}, nil
	}
	if err != nil {
		return agent.Result{}, err
	}
	return agent.Result{Text: textOf(res), Failed: res.IsError}, nil
}

// textOf is a result as a model reads it: its texts, or else its structure. What is no text is named.
func textOf(res *sdk.CallToolResult) string {
	var parts []string
	for _, c := range res.Content {
		switch c := c.(type) {
		case *sdk.TextContent:
			parts = append(parts, c.Text)
		case *sdk.ImageContent:
			parts = append(parts, fmt.Sprintf("[an image of the type %s and %d bytes, which is not shown]", c.MIMEType, len(c.Data)))
		case *sdk.AudioContent:
			parts = append(parts, fmt.Sprintf("[audio of the type %s and %d bytes, which is not shown]", c.MIMEType, len(c.Data)))
		case *sdk.ResourceLink:
			parts = append(parts, fmt.Sprintf("[the resource %s: %s]", c.URI, c.Description))
		case *sdk.EmbeddedResource:
			parts = append(parts, resourceText(c))
		}
	}
	if len(parts) == 0 && res.StructuredContent != nil {
		if b, err := json.Marshal(res.StructuredContent); err == nil {
			return string(b)
		}
	}
	return strings.Join(parts, "\n")
}

func resourceText(c *sdk.EmbeddedResource) string {
	switch r := c.Resource; {
	case r == nil:
		return ""
	case r.Text != "":
		return r.Text
	default:
		return fmt.Sprintf("[the resource %s of %d bytes, which is not shown]", r.URI, len(r.Blob))
	}
}
