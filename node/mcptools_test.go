package node_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/node/nodetest"
)

// TestMCP_tools: a model uses the tools of a registered server in one request, in each dialect.
func TestMCP_tools(t *testing.T) {
	t.Parallel()
	u := newUpstreamMCP(t)
	c := nodetest.Start(t, 1)
	n := c.Nodes[0]
	if status, body := n.Do("POST", "/api/v1/mcp/servers", nodetest.MasterKey, fields{"name": "remote", "url": u.url, "cost_per_call": 0.25, "forward_headers": []string{"X-User"}}); status != 201 {
		t.Fatalf("got %d %s", status, body)
	}
	k := c.Key(0, fields{"name": "with", "objects": fields{"mcp_tool_permissions": fields{"remote": []string{"echo"}}}})
	without := c.Key(0, fields{"name": "without"}).Secret
	c.Sync(n.Admin())
	tool := fields{"type": "mcp", "server_label": "r", "server_url": u.url, "require_approval": "never", "headers": fields{"X-User": "ada"}}
	own := fields{"type": "mcp", "server_label": "r", "server_url": "litellm_proxy/mcp/remote", "require_approval": "never"}
	servers := []fields{{"type": "url", "name": "r", "url": u.url}}
	user := []fields{{"role": "user", "content": "use it"}}
	for _, tt := range []struct {
		name, path string
		body       fields
		want       []string
	}{
		{"chat", "/v1/chat/completions", fields{"model": "demo", "messages": user, "tools": []fields{tool}}, []string{`"mcp_call_results"`, "echo: text", `"finish_reason":"stop"`}},
		{"chat, by name", "/v1/chat/completions", fields{"model": "demo", "messages": user, "tools": []fields{own}}, []string{`"mcp_call_results"`, "echo: text"}},
		{"chat, streamed", "/v1/chat/completions", fields{"model": "demo", "stream": true, "messages": user, "tools": []fields{tool}}, []string{`"mcp_call_results"`, "echo: text", `"finish_reason":"stop"`, "[DONE]"}},
		{"responses", "/v1/responses", fields{"model": "demo", "input": "use it", "tools": []fields{tool}}, []string{`"mcp_call"`, `"output":"echo: text"`, `"output_text"`}},
		{"responses, streamed", "/v1/responses", fields{"model": "demo", "stream": true, "input": "use it", "tools": []fields{tool}}, []string{"event: response.mcp_call.completed", `"output":"echo: text"`, "event: response.completed"}},
		{"messages", "/v1/messages", fields{"model": "demo", "max_tokens": 99, "messages": user, "mcp_servers": servers}, []string{`"mcp_tool_use"`, `"text":"echo: text"`, `"stop_reason":"end_turn"`}},
		{"messages, streamed", "/v1/messages", fields{"model": "demo", "stream": true, "max_tokens": 99, "messages": user, "mcp_servers": servers}, []string{`"mcp_tool_use"`, `"text":"echo: text"`, `"stop_reason":"end_turn"`, "event: message_stop"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := u.calls.Load()
			status, body := n.Do("POST", tt.path, k.Secret, tt.body)
			if status != 200 || u.calls.Load() != before+1 {
				t.Fatalf("got %d, %d calls: %s", status, u.calls.Load()-before, body)
			}
			for _, want := range tt.want {
				if !strings.Contains(string(body), want) {
					t.Errorf("%s\nhas no %s", body, want)
				}
			}
			if strings.Contains(string(body), "secret-place") {
				t.Errorf("a tool that the key may not use is offered: %s", body)
			}
			status, body = n.Do("POST", tt.path, without, tt.body)
			if status != 403 || !strings.Contains(string(body), "mcp_server_not_allowed") || u.calls.Load() != before+1 {
				t.Errorf("without a right: got %d %s", status, body)
			}
		})
	}
	t.Run("approval, over a stored response", func(t *testing.T) {
		asks := fields{"type": "mcp", "server_label": "r", "server_url": u.url}
		before := u.calls.Load()
		status, body := n.Do("POST", "/v1/responses", k.Secret, fields{"model": "demo", "input": "use it", "store": true, "tools": []fields{asks}})
		var first struct {
			ID     string
			Output []struct{ Type, ID string }
		}
		if err := json.Unmarshal(body, &first); err != nil || status != 200 || len(first.Output) != 2 || first.Output[1].Type != "mcp_approval_request" || u.calls.Load() != before {
			t.Fatalf("got %d %s, %v", status, body, err)
		}
		status, body = n.Do("POST", "/v1/responses", k.Secret, fields{
			"model": "demo", "previous_response_id": first.ID, "store": true, "tools": []fields{asks},
			"input": []fields{{"type": "mcp_approval_response", "approval_request_id": first.Output[1].ID, "approve": true}},
		})
		if status != 200 || u.calls.Load() != before+1 || !strings.Contains(string(body), `"output":"echo: text"`) || strings.Contains(string(body), "mcp_list_tools") {
			t.Fatalf("got %d %s", status, body)
		}
		var second struct{ ID string }
		if err := json.Unmarshal(body, &second); err != nil {
			t.Fatal(err)
		}
		status, body = n.Do("POST", "/v1/responses", k.Secret, fields{"model": "demo", "previous_response_id": second.ID, "input": "go on"})
		if status != 200 || u.calls.Load() != before+1 {
			t.Errorf("the turn after: got %d %s", status, body)
		}
	})
	t.Run("a key with too many tools searches", func(t *testing.T) {
		set := func(most int) {
			t.Helper()
			if status, body := n.Do("PUT", "/api/v1/settings/mcp_search_above", nodetest.MasterKey, fields{"value": most}); status != 200 {
				t.Fatalf("got %d %s", status, body)
			}
		}
		set(2)
		defer set(0)
		many := c.Key(0, fields{"name": "many", "objects": fields{"mcp_servers": []string{"remote"}}}).Secret
		s := mcpSession(t, n.URL+"/mcp", many, nil)
		if got := toolNames(t, s); got != "search_tools call_tool" {
			t.Fatalf("got %q", got)
		}
		if got, err := callText(t, s, "search_tools", fields{"query": "Echo it"}); err != nil || !strings.Contains(got, "remote-echo") || strings.Contains(got, "remote-slow") {
			t.Errorf("got %s, %v", got, err)
		}
		if got, err := callText(t, s, "call_tool", fields{"name": "remote-echo", "arguments": fields{"text": "found"}}); err != nil || !strings.Contains(got, "echo: found") {
			t.Errorf("got %s, %v", got, err)
		}
		few := mcpSession(t, n.URL+"/mcp", k.Secret, nil)
		if got := toolNames(t, few); got != "remote-echo" {
			t.Errorf("a key with few tools: got %q", got)
		}
		if got, err := callText(t, few, "call_tool", fields{"name": "remote-slow"}); err == nil {
			t.Errorf("a tool that the key has not: got %s", got)
		}
		if got, err := callText(t, few, "search_tools", fields{"query": "slow"}); err != nil || strings.Contains(got, "slow") {
			t.Errorf("a search for it: got %s, %v", got, err)
		}
	})
	t.Run("every round and every call is charged", func(t *testing.T) {
		c.Await("the spend of the key", func() bool {
			got, err := n.Admin().Keys().One(t.Context(), k.ID)
			return err == nil && got.Spend > 8*250_000_000
		})
		c.Await("the rows", func() bool {
			_, body := n.Do("GET", "/api/v1/requests?limit=100", nodetest.MasterKey, nil)
			return strings.Count(string(body), `"mcp/remote-echo"`) == 9
		})
	})
}
