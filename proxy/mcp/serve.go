package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/resource"
)

// The methods that the gateway answers itself; the SDK answers initialize and ping.
const (
	listTools     = "tools/list"
	callTool      = "tools/call"
	listPrompts   = "prompts/list"
	getPrompt     = "prompts/get"
	listResources = "resources/list"
	listTemplates = "resources/templates/list"
	readResource  = "resources/read"
)

// methods is the table of them.
var methods = map[string]func(c *caller, ctx context.Context, req sdk.Request) (sdk.Result, error){
	listTools:     (*caller).listTools,
	callTool:      (*caller).callTool,
	listPrompts:   (*caller).listPrompts,
	getPrompt:     (*caller).getPrompt,
	listResources: (*caller).listResources,
	listTemplates: (*caller).listTemplates,
	readResource:  (*caller).readResource,
}

// serverOf makes the server of one request: the protocol's words for its caller.
func (g *Gateway) serverOf(r *http.Request) *sdk.Server {
	c, _ := r.Context().Value(callerKey{}).(*caller)
	if c == nil {
		return nil // nobody was admitted
	}
	s := sdk.NewServer(&sdk.Implementation{Name: "conclave", Version: g.cfg.Version}, &sdk.ServerOptions{
		Capabilities: &sdk.ServerCapabilities{
			Tools: &sdk.ToolCapabilities{}, Prompts: &sdk.PromptCapabilities{}, Resources: &sdk.ResourceCapabilities{},
		},
		SetCacheable: func(_ context.Context, _ sdk.Request, c *sdk.Cacheable) { c.CacheScope = private.CacheScope },
	})
	s.AddReceivingMiddleware(func(next sdk.MethodHandler) sdk.MethodHandler {
		return func(ctx context.Context, method string, req sdk.Request) (sdk.Result, error) {
			do, ours := methods[method]
			if !ours {
				return next(ctx, method, req)
			}
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			defer context.AfterFunc(c.ctx, cancel)()
			res, err := do(c, ctx, req)
			if err != nil {
				return nil, wireError(err)
			}
			return res, nil
		}
	})
	return s
}

// wireError is an error as JSON-RPC says it.
func wireError(err error) error {
	var theirs *serverError
	if errors.As(err, &theirs) && !theirs.judged {
		return &jsonrpc.Error{Code: theirs.wire.Code, Message: cut(theirs.wire.Message, 4096)}
	}
	var visit *needed
	if errors.As(err, &visit) && visit.url != "" {
		return visit.wire()
	}
	e := reply.AsError(err)
	code := int64(-32000)
	switch e.Kind {
	case llm.Invalid, llm.NotFound:
		code = -32602
	case llm.Internal:
		code = -32603
	}
	data, _ := json.Marshal(struct { // cannot fail
		Type       string  `json:"type,omitempty"`
		Code       string  `json:"code"`
		Status     int     `json:"status"`
		RetryAfter float64 `json:"retry_after,omitempty"`
	}{e.Type, reply.Code(e), e.HTTPStatus(), e.RetryAfter.Seconds()})
	return &jsonrpc.Error{Code: code, Message: e.Message, Data: data}
}

func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}

// gather asks servers of the caller at once and joins what they have, in the servers' order.
// One that fails is left out, and logged.
func gather[T any](ctx context.Context, c *caller, servers []*resource.MCPServer, method string, ask func(context.Context, *sdk.ClientSession) ([]T, error), of func(*resource.MCPServer, T) (T, bool)) []T {
	parts := make([][]T, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() {
			all, err := offered(ctx, c, s, method, ask)
			if n := (*needed)(nil); errors.As(err, &n) { // as long as he has not visited the page
				c.g.cfg.Logger.Debug("MCP server needs a person's authorization", "server", s.Name, "method", method)
			} else if err != nil {
				c.g.cfg.Logger.Warn("MCP server does not say what it has", "server", s.Name, "method", method, "error", err)
			}
			for _, one := range all {
				if one, ok := of(s, one); ok {
					parts[i] = append(parts[i], one)
				}
			}
		})
	}
	wg.Wait()
	all := slices.Concat(parts...)
	if all == nil {
		all = []T{} // a list, not null
	}
	return all
}

// offered is what one server has, as it said a moment ago or says now.
func offered[T any](ctx context.Context, c *caller, s *resource.MCPServer, method string, ask func(context.Context, *sdk.ClientSession) ([]T, error)) (all []T, err error) {
	l := c.g.links.of(c.cat, s)
	forwarded, err := c.headers(ctx, s)
	if err != nil {
		return nil, err
	}
	if len(forwarded) == 0 {
		if known, ok := l.remembered(method).([]T); ok {
			return known, nil
		}
	}
	err = l.use(ctx, forwarded, func(ctx context.Context, session *sdk.ClientSession) error {
		all, err = ask(ctx, session)
		var refused *jsonrpc.Error
		if errors.As(err, &refused) && refused.Code == jsonrpc.CodeMethodNotFound {
			all, err = []T{}, nil // it has none of these
		}
		return err
	})
	if err == nil && len(forwarded) == 0 {
		l.remember(method, all)
	}
	return all, c.refused(s, err)
}

// some takes the first of a server's pages.
func some[T any](seq iter.Seq2[T, error]) ([]T, error) {
	all := []T{}
	for one, err := range seq {
		if err != nil {
			return nil, err
		}
		if all = append(all, one); len(all) == maxOffers {
			break
		}
	}
	return all, nil
}

func toolsOf(ctx context.Context, session *sdk.ClientSession) ([]*sdk.Tool, error) {
	return some(session.Tools(ctx, nil))
}

func promptsOf(ctx context.Context, session *sdk.ClientSession) ([]*sdk.Prompt, error) {
	return some(session.Prompts(ctx, nil))
}

func toolName(t *sdk.Tool) string {
	if t == nil {
		return ""
	}
	return t.Name
}

func promptName(p *sdk.Prompt) string {
	if p == nil {
		return ""
	}
	return p.Name
}

// unlisted is told of names that a server does not list, or cannot be asked about.
const unlisted = "unlisted"

// naming is the name of a call of a tool or a prompt of a server, which is not asked before the call is let through.
func naming[T any](c *caller, s *resource.MCPServer, method, own string, list func(context.Context, *sdk.ClientSession) ([]T, error), nameOf func(T) string) named {
	l, head := c.g.links.of(c.cat, s), s.Prefix()+separator
	if l.knows(method, own) {
		return named{asked: head + own, told: head + own}
	}
	return named{asked: head + own, told: head + unlisted, learn: func(ctx context.Context, session *sdk.ClientSession) string {
		all, ok := l.remembered(method).([]T)
		if !ok {
			all, _ = list(ctx, session) // a server that fails lists none
		}
		for _, one := range all {
			l.learn(method, nameOf(one))
		}
		if l.knows(method, own) {
			return head + own
		}
		return head + unlisted
	}}
}

// private says that nobody between may keep an answer for others: it is what the caller's key may see.
var private = sdk.Cacheable{CacheScope: "private"}

func (c *caller) listTools(ctx context.Context, _ sdk.Request) (sdk.Result, error) {
	return &sdk.ListToolsResult{Cacheable: private, Tools: c.listed(ctx)}, nil
}

// tools lists the caller's tools by their full names.
func (c *caller) tools(ctx context.Context) []*sdk.Tool {
	return gather(ctx, c, c.servers(), listTools, toolsOf, func(s *resource.MCPServer, t *sdk.Tool) (*sdk.Tool, bool) {
		if t == nil || !c.may(s, t.Name) {
			return nil, false
		}
		named := *t
		named.Name = s.Prefix() + separator + t.Name
		return &named, true
	})
}

func (c *caller) callTool(ctx context.Context, req sdk.Request) (sdk.Result, error) {
	p, ok := req.GetParams().(*sdk.CallToolParamsRaw)
	if !ok {
		return nil, &llm.Error{Kind: llm.Invalid, Message: "The call has no parameters."}
	}
	return c.call(ctx, p.Name, p.Arguments)
}

// call calls a tool by its full name.
func (c *caller) call(ctx context.Context, name string, arguments json.RawMessage) (*sdk.CallToolResult, error) {
	if res, ok, err := c.meta(ctx, name, arguments); ok {
		return res, err
	}
	s, own, err := c.tool(name)
	if err != nil {
		return nil, err
	}
	out := new(sdk.CallToolResult)
	err = c.use(ctx, s, naming(c, s, listTools, own, toolsOf, toolName), s.Cost(own), arguments, func(ctx context.Context, session *sdk.ClientSession, arguments json.RawMessage) (any, error) {
		if len(arguments) == 0 {
			arguments = json.RawMessage("{}")
		}
		return session.CallTool(ctx, &sdk.CallToolParams{Name: own, Arguments: arguments})
	}, out)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *caller) listPrompts(ctx context.Context, _ sdk.Request) (sdk.Result, error) {
	all := gather(ctx, c, c.readable(), listPrompts, promptsOf, func(s *resource.MCPServer, p *sdk.Prompt) (*sdk.Prompt, bool) {
		if p == nil {
			return nil, false
		}
		named := *p
		named.Name = s.Prefix() + separator + p.Name
		return &named, true
	})
	return &sdk.ListPromptsResult{Cacheable: private, Prompts: all}, nil
}

func (c *caller) getPrompt(ctx context.Context, req sdk.Request) (sdk.Result, error) {
	p, ok := req.GetParams().(*sdk.GetPromptParams)
	if !ok {
		return nil, &llm.Error{Kind: llm.Invalid, Message: "The call has no parameters."}
	}
	s, own, err := c.find(p.Name)
	if err != nil {
		return nil, err
	}
	if !c.mayRead(s) {
		return nil, unknown(p.Name)
	}
	raw, err := json.Marshal(p.Arguments)
	if err != nil || p.Arguments == nil {
		raw = json.RawMessage("{}")
	}
	out := new(sdk.GetPromptResult)
	err = c.use(ctx, s, naming(c, s, listPrompts, own, promptsOf, promptName), 0, raw, func(ctx context.Context, session *sdk.ClientSession, raw json.RawMessage) (any, error) {
		var arguments map[string]string
		if err := json.Unmarshal(raw, &arguments); err != nil {
			return nil, rewriteFailed(err)
		}
		return session.GetPrompt(ctx, &sdk.GetPromptParams{Name: own, Arguments: arguments})
	}, out)
	return out, err
}

func (c *caller) listResources(ctx context.Context, _ sdk.Request) (sdk.Result, error) {
	return &sdk.ListResourcesResult{Cacheable: private, Resources: gather(ctx, c, c.readable(), listResources, resourcesOf, func(_ *resource.MCPServer, r *sdk.Resource) (*sdk.Resource, bool) {
		return r, r != nil
	})}, nil
}

func resourcesOf(ctx context.Context, session *sdk.ClientSession) ([]*sdk.Resource, error) {
	return some(session.Resources(ctx, nil))
}

func (c *caller) listTemplates(ctx context.Context, _ sdk.Request) (sdk.Result, error) {
	return &sdk.ListResourceTemplatesResult{Cacheable: private, ResourceTemplates: gather(ctx, c, c.readable(), listTemplates, templatesOf, func(_ *resource.MCPServer, r *sdk.ResourceTemplate) (*sdk.ResourceTemplate, bool) {
		return r, r != nil
	})}, nil
}

func templatesOf(ctx context.Context, session *sdk.ClientSession) ([]*sdk.ResourceTemplate, error) {
	return some(session.ResourceTemplates(ctx, nil))
}

func (c *caller) readResource(ctx context.Context, req sdk.Request) (sdk.Result, error) {
	p, ok := req.GetParams().(*sdk.ReadResourceParams)
	if !ok {
		return nil, &llm.Error{Kind: llm.Invalid, Message: "The call has no parameters."}
	}
	s, err := c.owner(ctx, p.URI)
	if err != nil {
		return nil, err
	}
	out := new(sdk.ReadResourceResult)
	all := s.Prefix() + separator + "resources"
	err = c.use(ctx, s, named{asked: all, told: all}, 0, nil, func(ctx context.Context, session *sdk.ClientSession, _ json.RawMessage) (any, error) {
		return session.ReadResource(ctx, &sdk.ReadResourceParams{URI: p.URI})
	}, out)
	out.Cacheable = private
	return out, err
}

// owner finds the server of a resource: the only one of the caller, else the first that lists it
// or has a template for it.
func (c *caller) owner(ctx context.Context, uri string) (*resource.MCPServer, error) {
	servers := c.readable()
	if len(servers) == 1 {
		return servers[0], nil
	}
	for _, s := range servers {
		all, _ := offered(ctx, c, s, listResources, resourcesOf) // one that fails has none
		if slices.ContainsFunc(all, func(r *sdk.Resource) bool { return r != nil && r.URI == uri }) {
			return s, nil
		}
	}
	for _, s := range servers {
		all, _ := offered(ctx, c, s, listTemplates, templatesOf)
		if slices.ContainsFunc(all, func(t *sdk.ResourceTemplate) bool {
			if t == nil {
				return false
			}
			fixed, _, _ := strings.Cut(t.URITemplate, "{")
			return fixed != "" && strings.HasPrefix(uri, fixed)
		}) {
			return s, nil
		}
	}
	return nil, unknown(uri)
}

// health asks a server whether it is there.
func (c *caller) health(ctx context.Context, s *resource.MCPServer) error {
	forwarded, err := c.headers(ctx, s)
	if err != nil {
		return err
	}
	return c.g.links.of(c.cat, s).use(ctx, forwarded, func(ctx context.Context, session *sdk.ClientSession) error {
		return session.Ping(ctx, nil)
	})
}
