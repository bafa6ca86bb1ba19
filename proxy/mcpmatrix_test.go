package proxy_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy/auth"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/mcp"
	"github.com/conclave-llm/conclave/proxy/ratelimit"
	"github.com/conclave-llm/conclave/resource"
)

// mcpRows are the paths of the gateway of MCP servers, as the page has them: what calls a tool.
var mcpRows = []struct{ title, method, path, body string }{
	{"`POST /mcp`", "POST", "/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"%t","arguments":{"text":"hi"}}}`},
	{"`POST /mcp/{server}`", "POST", "/mcp/tools", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"%t","arguments":{"text":"hi"}}}`},
	{"`POST /mcp-rest/tools/call`", "POST", "/mcp-rest/tools/call", `{"name":"%t","arguments":{"text":"hi"}}`},
}

// mcpBreaches are the policies that are broken otherwise than elsewhere: the gateway of MCP servers has the limiter and the
// budgets themselves, and its calls name tools.
var mcpBreaches = map[string]func(r *rig){
	"over limit":  func(r *rig) { r.key().Limits = resource.Limits{RPM: new(int64(0))} },
	"over budget": func(r *rig) { r.key().Budgets = []resource.Terms{{USD: 1, Per: resource.PerTotal}} },
	"guardrail": func(r *rig) {
		r.guard(&judge{check: func(*guardrail.Check) guardrail.Verdict {
			return guardrail.Verdict{Action: guardrail.Block, Message: "no"}
		}}, resource.HookBefore)
	},
	"wrong model": func(*rig) {}, // the tool is that of a server that the key has not
	"no upstream": func(*rig) {}, // as it is: the server does not answer
	"too large":   func(*rig) {}, // its size is its own
	"not JSON":    func(*rig) {},
}

// mcpCodes are the codes of refusals that are others than elsewhere, "" for those that the protocol's library words.
var mcpCodes = map[string]string{"wrong model": "mcp_not_found", "no upstream": "", "too large": "", "not JSON": ""}

// mcpRefused checks the policies on calls of tools: each is refused, and no server is asked.
func mcpRefused(t *testing.T, sheet *sheet) {
	for _, row := range mcpRows {
		for _, p := range policies {
			set, own := mcpBreaches[p.name]
			if p.body != "" && !own || p.code == "missing_required_parameter" {
				continue // it is about the body of a request that asks a model
			}
			if p.code == "model_access_denied" && !own {
				continue // it is about models
			}
			t.Run(row.method+row.path+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				r.tables.Settings = []*resource.Setting{{Meta: resource.Meta{ID: "max_body_bytes"}, Value: []byte("1024")}}
				tool := "tools-echo"
				if p.wrong {
					tool = "hidden-echo"
				}
				body := strings.Replace(row.body, "%t", tool, 1)
				switch p.name {
				case "too large":
					body = strings.Replace(body, "hi", strings.Repeat("x", 2048), 1)
				case "not JSON":
					body = body[:20]
				}
				path := row.path
				if p.wrong {
					path = strings.Replace(path, "/mcp/tools", "/mcp/hidden", 1)
				}
				req := httptest.NewRequest(row.method, path, strings.NewReader(body))
				req.Header.Set("Authorization", "Bearer "+goodKey)
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("Accept", "application/json, text/event-stream")
				if set != nil {
					set(r)
				} else if p.set != nil {
					p.set(r, req)
				}
				status, code := callTool(t, r, req)
				if status < 400 {
					t.Errorf("got %d %s", status, code)
				}
				if want, special := mcpCodes[p.name]; !special && code != p.code || want != "" && code != want {
					t.Errorf("got %d %s, want %s", status, code, cmp.Or(want, p.code))
				}
				for way := range streams {
					sheet.note(row.title, p.column(), way, status)
				}
			})
		}
	}
}

// callTool sends a call, and returns the status and the code of its refusal.
func callTool(t *testing.T, r *rig, req *http.Request) (status int, code string) {
	t.Helper()
	r.tables.MCPServers = []*resource.MCPServer{
		{Meta: resource.Meta{ID: "mcp_1"}, Name: "tools", CostPerCall: resource.Dollar, AllowAllKeys: true, MCPUpstream: resource.MCPUpstream{Transport: resource.MCPTransportHTTP, URL: "http://tools.example/mcp"}},
		{Meta: resource.Meta{ID: "mcp_2"}, Name: "hidden", MCPUpstream: resource.MCPUpstream{Transport: resource.MCPTransportHTTP, URL: "http://hidden.example/mcp"}},
	}
	cat := resource.NewCatalog(r.tables)
	asked := false
	g, err := mcp.New(mcp.Config{
		NodeID: "node_a", Catalog: func() *resource.Catalog { return cat }, Auth: auth.New(auth.Config{Keys: r.keys, Master: r.cfg.Master}),
		Serving: r.cfg.Serving, Customers: r.cfg.Customers, Limits: ratelimit.New(ratelimit.Config{NodeID: "node_a"}),
		Budgets: budget.New(budget.Config{HasLeader: func() bool { return false }}), Guards: r.cfg.Guardrails, Journal: r.journal, Secrets: r.cfg.Secrets,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			asked = true
			return nil, errors.New("nobody is there")
		},
		WorkDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	mux := http.NewServeMux()
	g.Mount(mux)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, req)
	if asked && !strings.HasSuffix(t.Name(), "no_upstream") {
		t.Error("a server was asked")
	}
	if w.Code != 200 {
		var e struct {
			Error struct {
				Code any `json:"code"`
			} `json:"error"`
		}
		_ = json.Unmarshal(w.Body.Bytes(), &e) // what the protocol's library refuses itself is a text
		return w.Code, fmt.Sprint(e.Error.Code)
	}
	_, data, _ := strings.Cut(w.Body.String(), "data: ")
	var e struct {
		Error struct {
			Data struct {
				Status int    `json:"status"`
				Code   string `json:"code"`
			} `json:"data"`
		} `json:"error"`
	}
	if err := json.Unmarshal([]byte(strings.TrimSpace(data)), &e); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	return e.Error.Data.Status, e.Error.Data.Code
}
