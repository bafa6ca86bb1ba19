package node_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/conclave-llm/conclave/internal/launch"
	"github.com/conclave-llm/conclave/node/nodetest"
)

// stdioVariable makes the test binary an MCP server.
const stdioVariable = "CONCLAVE_TEST_MCP"

func said(text string) (*sdk.CallToolResult, any, error) {
	return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: text}}}, nil, nil
}

// serveStdio serves a tool that tells of the process.
func serveStdio() {
	s := sdk.NewServer(&sdk.Implementation{Name: "local", Version: "1"}, nil)
	type none struct{}
	sdk.AddTool(s, &sdk.Tool{Name: "pid"}, func(context.Context, *sdk.CallToolRequest, none) (*sdk.CallToolResult, any, error) {
		return said(strconv.Itoa(os.Getpid()))
	})
	sdk.AddTool(s, &sdk.Tool{Name: "env"}, func(context.Context, *sdk.CallToolRequest, none) (*sdk.CallToolResult, any, error) {
		return said(strings.Join(slices.Sorted(slices.Values(os.Environ())), "\n"))
	})
	_ = s.Run(context.Background(), &sdk.StdioTransport{})
}

// upstreamMCP is a real MCP server over HTTP, and what it has seen.
type upstreamMCP struct {
	url    string
	server *sdk.Server
	calls  atomic.Int64
	header atomic.Pointer[http.Header]
}

func newUpstreamMCP(t *testing.T) *upstreamMCP {
	s := sdk.NewServer(&sdk.Implementation{Name: "remote", Version: "1"}, nil)
	u := &upstreamMCP{server: s}
	type in struct {
		Text string `json:"text"`
	}
	sdk.AddTool(s, &sdk.Tool{Name: "echo"}, func(_ context.Context, _ *sdk.CallToolRequest, in in) (*sdk.CallToolResult, any, error) {
		u.calls.Add(1)
		return said("echo: " + in.Text)
	})
	sdk.AddTool(s, &sdk.Tool{Name: "secret-place"}, func(context.Context, *sdk.CallToolRequest, in) (*sdk.CallToolResult, any, error) {
		return said("the secret project is here")
	})
	sdk.AddTool(s, &sdk.Tool{Name: "slow"}, func(ctx context.Context, _ *sdk.CallToolRequest, _ in) (*sdk.CallToolResult, any, error) {
		<-ctx.Done()
		return nil, nil, ctx.Err()
	})
	sdk.AddTool(s, &sdk.Tool{Name: "huge"}, func(context.Context, *sdk.CallToolRequest, in) (*sdk.CallToolResult, any, error) {
		return said(strings.Repeat("x", 17<<20))
	})
	s.AddPrompt(&sdk.Prompt{Name: "hello", Arguments: []*sdk.PromptArgument{{Name: "who"}}}, func(_ context.Context, r *sdk.GetPromptRequest) (*sdk.GetPromptResult, error) {
		return &sdk.GetPromptResult{Messages: []*sdk.PromptMessage{{Role: "user", Content: &sdk.TextContent{Text: "hello " + r.Params.Arguments["who"]}}}}, nil
	})
	s.AddResource(&sdk.Resource{Name: "readme", URI: "file:///readme"}, func(_ context.Context, r *sdk.ReadResourceRequest) (*sdk.ReadResourceResult, error) {
		return &sdk.ReadResourceResult{Contents: []*sdk.ResourceContents{{URI: r.Params.URI, Text: "read me"}}}, nil
	})
	h := sdk.NewStreamableHTTPHandler(func(r *http.Request) *sdk.Server {
		seen := r.Header.Clone()
		u.header.Store(&seen)
		return s
	}, nil)
	srv := httptest.NewServer(h)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	u.url = srv.URL
	return u
}

// withKey sends a key and more headers.
type withKey struct {
	key  string
	more http.Header
}

func (k withKey) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+k.key)
	maps.Copy(r.Header, k.more)
	return http.DefaultTransport.RoundTrip(r)
}

func mcpSession(t *testing.T, url, key string, more http.Header) *sdk.ClientSession {
	t.Helper()
	c := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil)
	s, err := c.Connect(t.Context(), &sdk.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: withKey{key, more}}, DisableStandaloneSSE: true}, nil)
	if err != nil {
		t.Fatalf("connect to %s: %v", url, err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func toolNames(t *testing.T, s *sdk.ClientSession) string {
	t.Helper()
	r, err := s.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.CacheScope != "private" {
		t.Errorf("anybody may keep the list of a key's tools: %q", r.CacheScope)
	}
	var names []string
	for _, tool := range r.Tools {
		names = append(names, tool.Name)
	}
	return strings.Join(names, " ")
}

func callText(t *testing.T, s *sdk.ClientSession, name string, args any) (string, error) {
	t.Helper()
	r, err := s.CallTool(t.Context(), &sdk.CallToolParams{Name: name, Arguments: args})
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(r.Content)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), nil
}

func TestMCP(t *testing.T) {
	t.Parallel()
	u := newUpstreamMCP(t)
	c := nodetest.Start(t, 3)
	admin := func(method, path string, in any, want int) []byte {
		t.Helper()
		status, body := c.Nodes[0].Do(method, path, nodetest.MasterKey, in)
		if status != want {
			t.Fatalf("%s %s: got %d %s", method, path, status, body)
		}
		return body
	}
	admin("POST", "/api/v1/mcp/servers", fields{
		"name": "remote", "alias": "r", "url": u.url, "auth": "bearer_token", "secrets": fields{"auth": "upstream-token"}, "forward_headers": []string{"X-User"},
		"cost_per_call": 0.25, "timeout_ms": 30_000, "access_groups": []string{"office"},
	}, 201)
	admin("POST", "/api/v1/mcp/servers", fields{
		"name": "local", "command": os.Args[0], "env": fields{stdioVariable: "1"}, "secrets": fields{"env.TOKEN": "for-the-process"}, "disallowed_tools": []string{"nothing"},
	}, 201)
	admin("POST", "/api/v1/mcp/servers", fields{"name": "dead", "url": "http://127.0.0.1:1/mcp", "allow_all_keys": true}, 201)
	if s, b := c.Nodes[0].Do("POST", "/api/v1/mcp/servers", nodetest.MasterKey, fields{"name": "r", "url": u.url}); s != 400 || !strings.Contains(string(b), "prefix") {
		t.Errorf("a second server with the prefix: got %d %s", s, b)
	}
	plain := c.Key(0, fields{"name": "plain"}).Secret
	all := c.Key(0, fields{"name": "all", "objects": fields{"mcp_servers": []string{"remote", "local"}}, "budgets": []fields{{"usd": 0.6}}})
	some := c.Key(0, fields{"name": "some", "objects": fields{"mcp_tool_permissions": fields{"remote": []string{"echo"}}}}).Secret
	group := c.Key(0, fields{"name": "group", "objects": fields{"mcp_access_groups": []string{"office"}, "blocked_tools": []string{"slow"}}}).Secret
	c.Sync(c.Nodes[0].Admin())
	at := func(i int, path string) string { return c.Nodes[i].URL + path }

	t.Run("who is a stranger", func(t *testing.T) {
		for _, path := range []string{"/mcp", "/mcp/remote", "/remote/mcp"} {
			if status, body := c.Nodes[1].Do("POST", path, "sk-nobody-knows-this-one", "{}"); status != 401 {
				t.Errorf("%s: got %d %s", path, status, body)
			}
		}
	})
	t.Run("what each key sees and may call", func(t *testing.T) {
		for _, tt := range []struct{ name, key, want string }{
			{"no right", plain, ""},
			{"two servers", all.Secret, "local-env local-pid r-echo r-huge r-secret-place r-slow"},
			{"one tool", some, "r-echo"},
			{"a group without a tool", group, "r-echo r-huge r-secret-place"},
			{"the master key", nodetest.MasterKey, "local-env local-pid r-echo r-huge r-secret-place r-slow"},
		} {
			for i := range c.Nodes {
				s := mcpSession(t, at(i, "/mcp"), tt.key, nil)
				if got := toolNames(t, s); got != tt.want {
					t.Errorf("%s at node %d: got %q, want %q", tt.name, i, got, tt.want)
				}
			}
		}
		before := u.calls.Load()
		for _, name := range []string{"r-echo", "remote-echo", "echo", "r-slow"} {
			if got, err := callText(t, mcpSession(t, at(1, "/mcp/remote"), plain, nil), name, fields{"text": "x"}); err == nil || !strings.Contains(err.Error(), "There is no") {
				t.Errorf("call of %s without a right: got %q, %v", name, got, err)
			}
		}
		if _, err := callText(t, mcpSession(t, at(1, "/mcp"), some, nil), "r-slow", fields{}); err == nil {
			t.Error("a tool that the key has not was called")
		}
		if u.calls.Load() != before {
			t.Error("the server was asked for who may not")
		}
	})
	t.Run("selection", func(t *testing.T) {
		if got := toolNames(t, mcpSession(t, at(0, "/mcp"), all.Secret, http.Header{"X-Mcp-Servers": {"local"}})); got != "local-env local-pid" {
			t.Errorf("by header: got %q", got)
		}
		for _, path := range []string{"/mcp/local", "/local/mcp"} {
			if got := toolNames(t, mcpSession(t, at(0, path), all.Secret, nil)); got != "local-env local-pid" {
				t.Errorf("%s: got %q", path, got)
			}
		}
	})
	t.Run("prompts and resources", func(t *testing.T) {
		s := mcpSession(t, at(2, "/mcp"), all.Secret, nil)
		p, err := s.GetPrompt(t.Context(), &sdk.GetPromptParams{Name: "r-hello", Arguments: map[string]string{"who": "you"}})
		if err != nil || len(p.Messages) != 1 || p.Messages[0].Content.(*sdk.TextContent).Text != "hello you" {
			t.Errorf("prompt: got %+v, %v", p, err)
		}
		r, err := s.ReadResource(t.Context(), &sdk.ReadResourceParams{URI: "file:///readme"})
		if err != nil || r.Contents[0].Text != "read me" {
			t.Errorf("resource: got %+v, %v", r, err)
		}
		if _, err := mcpSession(t, at(2, "/mcp"), plain, nil).ReadResource(t.Context(), &sdk.ReadResourceParams{URI: "file:///readme"}); err == nil {
			t.Error("a resource is read without a right")
		}
		one := mcpSession(t, at(2, "/mcp"), some, nil)
		if _, err := one.ReadResource(t.Context(), &sdk.ReadResourceParams{URI: "file:///readme"}); err == nil {
			t.Error("a resource is read with the right to one tool")
		}
		if _, err := one.GetPrompt(t.Context(), &sdk.GetPromptParams{Name: "r-hello", Arguments: map[string]string{"who": "you"}}); err == nil {
			t.Error("a prompt is read with the right to one tool")
		}
		prompts, err := one.ListPrompts(t.Context(), nil)
		if err != nil || len(prompts.Prompts) != 0 {
			t.Errorf("who may use one tool is listed the prompts %+v, %v", prompts, err)
		}
		resources, err := one.ListResources(t.Context(), nil)
		if err != nil || len(resources.Resources) != 0 {
			t.Errorf("who may use one tool is listed the resources %+v, %v", resources, err)
		}
	})
	t.Run("headers", func(t *testing.T) {
		s := mcpSession(t, at(0, "/mcp"), all.Secret, http.Header{"X-User": {"ada"}, "X-Other": {"x"}})
		if got, err := callText(t, s, "r-secret-place", fields{"text": ""}); err != nil {
			t.Fatal(got, err)
		}
		h := *u.header.Load()
		if h.Get("Authorization") != "Bearer upstream-token" || h.Get("X-User") != "ada" || h.Get("X-Other") != "" {
			t.Errorf("the server got %v", h)
		}
	})
	t.Run("a price and a budget", func(t *testing.T) {
		k := c.Key(0, fields{"name": "poor", "objects": fields{"mcp_servers": []string{"r"}}, "budgets": []fields{{"usd": 0.6}}})
		c.Sync(c.Nodes[0].Admin())
		s := mcpSession(t, at(0, "/mcp"), k.Secret, nil)
		for range 2 {
			if got, err := callText(t, s, "r-echo", fields{"text": "hi"}); err != nil || !strings.Contains(got, "echo: hi") {
				t.Fatalf("got %q, %v", got, err)
			}
		}
		if got, err := callText(t, s, "r-echo", fields{"text": "hi"}); err == nil || !strings.Contains(strings.ToLower(err.Error()), "budget") {
			t.Errorf("over the budget: got %q, %v", got, err)
		}
		c.Await("the calls in the request log", func() bool {
			_, body := c.Nodes[1].Do("GET", "/api/v1/requests?limit=50", nodetest.MasterKey, nil)
			return strings.Count(string(body), `"mcp/r-echo"`) >= 3
		})
		c.Await("the spend of the key", func() bool {
			got, err := c.Nodes[1].Admin().Keys().One(t.Context(), k.ID)
			return err == nil && got.Spend == 500_000_000
		})
	})
	t.Run("a limit of one server", func(t *testing.T) {
		k := c.Key(0, fields{"name": "slow", "objects": fields{"mcp_servers": []string{"r", "local"}}, "mcp_limits": fields{"remote": fields{"rpm": 1}}})
		c.Sync(c.Nodes[0].Admin())
		for i := range 2 {
			s := mcpSession(t, at(i, "/mcp"), k.Secret, nil)
			if got, err := callText(t, s, "r-echo", fields{"text": "hi"}); (err == nil) != (i == 0) || err != nil && !strings.Contains(err.Error(), "for one MCP server") {
				t.Errorf("call at node %d: got %q, %v", i, got, err)
			}
			if got, err := callText(t, s, "local-pid", fields{}); err != nil {
				t.Errorf("another server at node %d: got %q, %v", i, got, err)
			}
		}
	})
	t.Run("a process", func(t *testing.T) {
		s := mcpSession(t, at(0, "/mcp"), all.Secret, nil)
		first, err := callText(t, s, "local-pid", fields{})
		if err != nil {
			t.Fatal(err)
		}
		env, err := callText(t, s, "local-env", fields{})
		if err != nil || !strings.Contains(env, stdioVariable+"=1") || !strings.Contains(env, "TOKEN=for-the-process") || strings.Contains(env, "PATH=") || strings.Contains(env, "HOME=") {
			t.Errorf("environment: got %s, %v", env, err)
		}
		pid := pidIn(t, first)
		if group, err := syscall.Getpgid(pid); err != nil || group != pid {
			t.Errorf("process group: got %d, %v", group, err)
		}
		if err := launch.Signal(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		c.Await("another process", func() bool {
			again, err := callText(t, s, "local-pid", fields{})
			return err == nil && again != first
		})
		now, err := callText(t, s, "local-pid", fields{})
		if err != nil {
			t.Fatal(err)
		}
		c.Nodes[0].Stop()
		c.Await("the process to end with its node", func() bool { return launch.Signal(pidIn(t, now), 0) != nil })
		if got, err := callText(t, mcpSession(t, at(1, "/mcp"), all.Secret, nil), "local-pid", fields{}); err != nil {
			t.Errorf("on another node: got %q, %v", got, err)
		}
		c.Nodes[0].Start()
		c.AwaitReady()
	})
	t.Run("guardrails", func(t *testing.T) {
		admin("POST", "/api/v1/guardrails", fields{"name": "words", "plugin": "keywords", "optional": true, "hooks": []string{"before", "after"}, "on_error": "block", "config": fields{"words": []string{"secret project"}}}, 201)
		judged := c.Key(0, fields{"name": "judged", "guardrails": []string{"words"}, "objects": fields{"mcp_servers": []string{"r"}}}).Secret
		c.Sync(c.Nodes[0].Admin())
		c.AwaitReady()
		s := mcpSession(t, at(0, "/mcp"), judged, nil)
		c.Await("the guardrail", func() bool {
			got, err := callText(t, s, "r-echo", fields{"text": "hi"})
			return err == nil && strings.Contains(got, "echo: hi")
		})
		before := u.calls.Load()
		if got, err := callText(t, s, "r-echo", fields{"text": "the secret project"}); err == nil || u.calls.Load() != before {
			t.Errorf("arguments: got %q, %v", got, err)
		}
		if got, err := callText(t, s, "r-secret-place", fields{"text": ""}); err == nil {
			t.Errorf("a result: got %q", got)
		}
	})
	t.Run("slow, huge and dead", func(t *testing.T) {
		patience := func(ms int) {
			admin("PATCH", "/api/v1/mcp/servers/remote", fields{"timeout_ms": ms}, 200)
			c.Key(0, fields{}) // and every node has both
		}
		patience(1500)
		if got, err := callText(t, mcpSession(t, at(1, "/mcp"), nodetest.MasterKey, nil), "r-slow", fields{"text": ""}); err == nil || !strings.Contains(err.Error(), "in time") {
			t.Errorf("slow: got %.100q, %v", got, err)
		}
		patience(30_000)
		if got, err := callText(t, mcpSession(t, at(1, "/mcp"), nodetest.MasterKey, nil), "r-huge", fields{"text": ""}); err == nil {
			t.Errorf("huge: got %.100q", got)
		}
		s := mcpSession(t, at(1, "/mcp"), nodetest.MasterKey, nil)
		if got, err := callText(t, s, "r-echo", fields{"text": "again"}); err != nil || !strings.Contains(got, "again") {
			t.Errorf("after the failures: got %q, %v", got, err)
		}
		if _, err := callText(t, s, "dead-x", fields{}); err == nil || !strings.Contains(err.Error(), "MCP server dead") {
			t.Errorf("dead: got %v", err)
		}
	})
	t.Run("LiteLLM's REST", func(t *testing.T) {
		status, body := c.Nodes[2].Do("GET", "/mcp-rest/tools/list", some, nil)
		if status != 200 || !strings.Contains(string(body), `"r-echo"`) || strings.Contains(string(body), "slow") {
			t.Errorf("list: got %d %s", status, body)
		}
		status, body = c.Nodes[2].Do("POST", "/mcp-rest/tools/call", some, fields{"name": "r-echo", "arguments": fields{"text": "rest"}})
		if status != 200 || !strings.Contains(string(body), "echo: rest") {
			t.Errorf("call: got %d %s", status, body)
		}
		if status, body = c.Nodes[2].Do("POST", "/mcp-rest/tools/call", plain, fields{"name": "r-echo"}); status != 404 {
			t.Errorf("call without a right: got %d %s", status, body)
		}
	})
	t.Run("LiteLLM's management", func(t *testing.T) {
		if status, body := c.Nodes[1].Do("GET", "/v1/mcp/server", some, nil); status != 200 || !strings.Contains(string(body), `"remote"`) || strings.Contains(string(body), `"local"`) || strings.Contains(string(body), u.url) {
			t.Errorf("what a key sees: got %d %s", status, body)
		}
		if status, body := c.Nodes[1].Do("POST", "/v1/mcp/server", all.Secret, fields{"server_name": "x", "command": "/bin/sh"}); status != 403 {
			t.Errorf("a key makes a server: got %d %s", status, body)
		}
		body := string(admin("POST", "/v1/mcp/server", fields{"server_name": "more", "url": u.url, "transport": "http", "auth_type": "api_key", "authentication_token": "a-canary", "allow_all_keys": true, "mcp_info": fields{"mcp_server_cost_info": fields{"default_cost_per_query": 0.5}}}, 200))
		if strings.Contains(body, "a-canary") || !strings.Contains(body, `"default_cost_per_query":0.5`) {
			t.Errorf("made: got %s", body)
		}
		if status, body := c.Nodes[0].Do("POST", "/v1/mcp/server", nodetest.MasterKey, fields{"server_name": "y", "url": u.url, "is_byok": true}); status != 400 {
			t.Errorf("a field that is not known: got %d %s", status, body)
		}
		admin("POST", "/v1/mcp/server/import", `{"mcpServers":{"desk-top":{"command":"/bin/true","env":{"A":"b"}}}}`, 200)
		c.Await("the servers on another node", func() bool {
			_, body := c.Nodes[2].Do("GET", "/v1/mcp/server", nodetest.MasterKey, nil)
			return strings.Contains(string(body), `"desk_top"`)
		})
		if status, body := c.Nodes[2].Do("GET", "/v1/mcp/tools", plain, nil); status != 200 || !strings.Contains(string(body), `"more-echo"`) || strings.Contains(string(body), "r-echo") {
			t.Errorf("tools: got %d %s", status, body)
		}
		if status, body := c.Nodes[2].Do("GET", "/v1/mcp/server/health", nodetest.MasterKey, nil); status != 200 || strings.Count(string(body), `"healthy"`) < 3 || strings.Count(string(body), "unhealthy") != 2 {
			t.Errorf("health: got %d %s", status, body)
		}
		if h, err := c.Nodes[2].Admin().MCPHealth(t.Context(), "dead"); err != nil || h.Healthy || h.Error == "" {
			t.Errorf("health of dead: got %+v, %v", h, err)
		}
		if h, err := c.Nodes[2].Admin().MCPTools(t.Context()); err != nil || len(h.Items) < 6 || h.Items[0].Server == "" {
			t.Errorf("tools of the admin: got %+v, %v", h, err)
		}
	})
	if log := c.Log.String(); strings.Contains(log, "upstream-token") || strings.Contains(log, "for-the-process") || strings.Contains(log, "echo: hi") {
		t.Error("the log has a secret, or what was said")
	}
}

// pidIn reads the number in a result.
func pidIn(t *testing.T, content string) int {
	t.Helper()
	var parts []struct {
		Text string `json:"text"`
	}
	if err := json.Unmarshal([]byte(content), &parts); err != nil || len(parts) == 0 {
		t.Fatalf("read %s: %v", content, err)
	}
	pid, err := strconv.Atoi(parts[0].Text)
	if err != nil {
		t.Fatal(fmt.Errorf("read pid: %w", err))
	}
	return pid
}
