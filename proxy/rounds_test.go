package proxy_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/agent"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// toolbox is a server "git" with two tools, and what was called.
type toolbox struct {
	mu     sync.Mutex
	calls  []string
	fail   error
	client *agent.Client
}

func (b *toolbox) Toolset(c *agent.Client) agent.Toolset {
	b.client = c
	return b
}

func (b *toolbox) Tools(_ context.Context, s *agent.Server) ([]agent.Tool, error) {
	if s.URL != "" && s.URL != "https://git.example/mcp" {
		return nil, agent.Unregistered(s.URL)
	}
	return []agent.Tool{
		{Name: "log", Full: "git-log", Description: "Shows commits.", Schema: json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer"}}}`)},
		{Name: "push", Full: "git-push"},
	}, nil
}

func (b *toolbox) Call(ctx context.Context, _ *agent.Server, full string, arguments json.RawMessage) (agent.Result, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, full+" "+string(arguments))
	if b.fail != nil {
		return agent.Result{}, b.fail
	}
	if ctx.Err() != nil {
		return agent.Result{}, ctx.Err()
	}
	return agent.Result{Text: "result of " + full}, nil
}

// model is an upstream that answers each round with the next of its scripts: a whole answer, or a
// list of events.
type model struct {
	mu     sync.Mutex
	bodies []string
	whole  []string
	events [][]string
}

func (m *model) do(_ context.Context, a *upstream.Attempt) (proxy.Answer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := len(m.bodies)
	m.bodies = append(m.bodies, string(a.Body))
	if a.Stream {
		if i >= len(m.events) {
			return proxy.Answer{}, &llm.Error{Kind: llm.Upstream, Message: "no more events"}
		}
		return proxy.Answer{Status: 200, Stream: &doneScript{script{usage: usage, events: m.events[i]}}}, nil
	}
	if i >= len(m.whole) {
		return proxy.Answer{}, &llm.Error{Kind: llm.Upstream, Message: "no more answers"}
	}
	return proxy.Answer{
		Status: 200, Body: []byte(m.whole[i]), Report: llm.Report{Usage: usage, HasUsage: true, TextBytes: 2}, Header: http.Header{"Content-Type": {"application/json"}},
	}, nil
}

// doneScript ends with its last event.
type doneScript struct{ script }

func (s *doneScript) Done() bool { return s.i == len(s.events) }

func sse(typ, data string) string { return string(llm.AppendEvent(nil, typ, []byte(data))) }

func chatEvents(chunks ...string) (all []string) {
	for _, c := range append(chunks, "[DONE]") {
		all = append(all, sse("", c))
	}
	return all
}

func typed(events ...string) (all []string) {
	for _, e := range events {
		var o struct{ Type string }
		if err := json.Unmarshal([]byte(e), &o); err != nil {
			panic(err)
		}
		all = append(all, sse(o.Type, e))
	}
	return all
}

const (
	gitTool   = `{"type":"mcp","server_label":"git","server_url":"https://git.example/mcp","require_approval":"never"}`
	gitAsks   = `{"type":"mcp","server_label":"git","server_url":"https://git.example/mcp","require_approval":{"always":{"tool_names":["push"]},"never":{"tool_names":["log"]}},"headers":{"X":"canary"}}`
	ownTool   = `{"type":"function","function":{"name":"mine"}}`
	chatCall  = `{"id":"c1","choices":[{"index":0,"message":{"role":"assistant","content":"Let me see.","tool_calls":[{"id":"call_1","type":"function","function":{"name":"git-log","arguments":"{\"n\":1}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":10,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":1}}}`
	chatSays  = `{"id":"c2","choices":[{"index":0,"message":{"role":"assistant","content":"There is one."},"finish_reason":"stop"}],"usage":{"prompt_tokens":20,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":5}}}`
	chatPush  = `{"id":"c3","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"call_2","type":"function","function":{"name":"git-push","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}`
	chatMixed = `{"id":"c4","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"git-log","arguments":"{}"}},{"id":"call_9","type":"function","function":{"name":"mine","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}`

	responseCall = `{"id":"r1","object":"response","status":"completed","output":[{"type":"reasoning","id":"rs_1","summary":[]},{"type":"function_call","id":"fc_1","call_id":"call_1","name":"git-log","arguments":"{\"n\":1}","status":"completed"}],"tools":[],"usage":{"input_tokens":10,"output_tokens":2,"total_tokens":12}}`
	responseSays = `{"id":"r2","object":"response","status":"completed","output":[{"type":"message","id":"m1","role":"assistant","content":[{"type":"output_text","text":"There is one."}]}],"usage":{"input_tokens":20,"output_tokens":3,"total_tokens":23}}`
	responsePush = `{"id":"r3","object":"response","status":"completed","output":[{"type":"function_call","id":"fc_2","call_id":"call_2","name":"git-push","arguments":"{}","status":"completed"}]}`

	messageCall = `{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"text","text":"Let me see."},{"type":"tool_use","id":"toolu_1","name":"git-log","input":{"n":1}}],"stop_reason":"tool_use","usage":{"input_tokens":10,"output_tokens":2}}`
	messageSays = `{"id":"msg_2","type":"message","role":"assistant","content":[{"type":"text","text":"There is one."}],"stop_reason":"end_turn","usage":{"input_tokens":20,"output_tokens":3}}`
)

func roundsRig(t *testing.T) (*rig, *toolbox, *model) {
	r, b, m := newRig(t), &toolbox{}, &model{}
	r.cfg.Servers = b
	r.upstream = m.do
	for _, d := range r.tables.Deployments[1:2] {
		d.Provider = "anthropic"
	}
	r.tables.Deployments = append(r.tables.Deployments, &resource.Deployment{Meta: resource.Meta{ID: "dep_4"}, Name: "d4", ModelID: "model_claude", Provider: "anthropic", Upstream: "claude-x"})
	r.tables.Models = append(r.tables.Models, &resource.Model{Meta: resource.Meta{ID: "model_claude"}, Name: "claude"})
	for _, k := range r.keys {
		k.Models = append(k.Models, "claude")
	}
	return r, b, m
}

func TestRounds_whole(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, path, body string
		answers          []string
		calls            []string
		want, wantNot    []string // in the client's answer
		second           []string // in the second round's body
	}{
		{
			"chat", "/v1/chat/completions", `{"model":"demo","messages":[{"role":"user","content":"log?"}],"tool_choice":"required","tools":[` + gitTool + `,` + ownTool + `]}`,
			[]string{chatCall, chatSays},
			[]string{`git-log {"n":1}`},
			[]string{`"content":"Let me see.\n\nThere is one."`, `"id":"c1"`, `"prompt_tokens":30`, `"completion_tokens":5`, `"cached_tokens":6`, `"mcp_call_results":[{"name":"git-log","result":"result of git-log","tool_call_id":"call_1"}]`},
			[]string{`"tool_calls":[{"id"`},
			[]string{`{"content":"result of git-log","role":"tool","tool_call_id":"call_1"}`, `"tool_choice":"auto"`, `"name":"mine"`, `"tool_calls":[{"id":"call_1"`},
		},
		{
			"chat that needs approval", "/v1/chat/completions", `{"model":"demo","messages":[{"role":"user","content":"push"}],"tools":[` + gitAsks + `]}`,
			[]string{chatPush},
			nil,
			[]string{`"name":"git-push"`, `"finish_reason":"tool_calls"`},
			nil, nil,
		},
		{
			"chat with the client's own function", "/v1/chat/completions", `{"model":"demo","messages":[{"role":"user","content":"both"}],"tools":[` + gitTool + `,` + ownTool + `]}`,
			[]string{chatMixed},
			nil,
			[]string{`"name":"git-log"`, `"name":"mine"`},
			nil, nil,
		},
		{
			"chat that goes on from both", "/v1/chat/completions", `{"model":"demo","messages":[{"role":"user","content":"both"},{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"git-log","arguments":"{}"}},{"id":"call_9","type":"function","function":{"name":"mine","arguments":"{}"}}]},{"role":"tool","tool_call_id":"call_9","content":"mine"}],"tools":[` + gitTool + `,` + ownTool + `]}`,
			[]string{chatSays},
			[]string{`git-log {}`},
			[]string{`There is one.`},
			nil, nil,
		},
		{
			"responses", "/v1/responses", `{"model":"demo","input":"log?","max_tool_calls":3,"tools":[` + gitTool + `]}`,
			[]string{responseCall, responseSays},
			[]string{`git-log {"n":1}`},
			[]string{`"type":"mcp_list_tools"`, `"type":"mcp_call"`, `"output":"result of git-log"`, `"server_label":"git"`, `"name":"log"`, `There is one.`, `"id":"r1"`, `"total_tokens":35`, `"server_url":"https://git.example/mcp"`, `"id":"rs_1"`},
			[]string{`"function_call"`},
			[]string{`{"call_id":"call_1","output":"result of git-log","type":"function_call_output"}`, `"store":false`, `"name":"git-log"`, `"role":"user"`},
		},
		{
			"responses that need approval", "/v1/responses", `{"model":"demo","input":"push","tools":[` + gitAsks + `]}`,
			[]string{responsePush},
			nil,
			[]string{`"type":"mcp_approval_request"`, `"name":"push"`},
			[]string{`canary`, `"function_call"`},
			nil,
		},
		{
			"responses that were approved", "/v1/responses", `{"model":"demo","input":[{"type":"message","role":"user","content":"push"},{"type":"mcp_list_tools","id":"l","server_label":"git","tools":[]},{"type":"mcp_call","id":"mcp_0","server_label":"git","name":"log","arguments":"{}","output":"old"},{"type":"mcp_approval_request","id":"mcpr_1","server_label":"git","name":"push","arguments":"{}"},{"type":"mcp_approval_response","approval_request_id":"mcpr_1","approve":true}],"tools":[` + gitAsks + `]}`,
			[]string{responseSays},
			[]string{`git-push {}`},
			[]string{`"approval_request_id":"mcpr_1"`, `"output":"result of git-push"`},
			[]string{`mcp_list_tools`},
			nil,
		},
		{
			"messages", "/v1/messages", `{"model":"claude","max_tokens":9,"messages":[{"role":"user","content":"log?"}],"mcp_servers":[{"type":"url","url":"https://git.example/mcp","name":"git","tool_configuration":{"allowed_tools":["log"]}}]}`,
			[]string{messageCall, messageSays},
			[]string{`git-log {"n":1}`},
			[]string{`{"id":"mcptoolu_1","input":{"n":1},"name":"log","server_name":"git","type":"mcp_tool_use"}`, `"type":"mcp_tool_result"`, `"text":"result of git-log"`, `"text":"There is one."`, `"input_tokens":30`, `"id":"msg_1"`, `"stop_reason":"end_turn"`},
			[]string{`"type":"tool_use"`},
			[]string{`"tool_use_id":"toolu_1"`, `"type":"tool_result"`, `"type":"tool_use"`, `"text":"Let me see."`},
		},
		{
			"messages that go on", "/v1/messages", `{"model":"claude","max_tokens":9,"messages":[{"role":"user","content":"log?"},{"role":"assistant","content":[{"type":"text","text":"a"},{"type":"mcp_tool_use","id":"mcptoolu_1","name":"log","server_name":"git","input":{}},{"type":"mcp_tool_result","tool_use_id":"mcptoolu_1","content":[{"type":"text","text":"old"}]},{"type":"text","text":"b"}]},{"role":"user","content":"and?"}],"tools":[{"name":"mine","input_schema":{"type":"object"}}]}`,
			[]string{messageSays},
			nil,
			[]string{`There is one.`},
			nil, nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, b, m := roundsRig(t)
			m.whole = tt.answers
			w := r.do("POST", tt.path, tt.body)
			if w.Code != 200 {
				t.Fatalf("got %d %s, asked %q", w.Code, w.Body, m.bodies)
			}
			if !slices.Equal(b.calls, tt.calls) {
				t.Errorf("called %q, want %q", b.calls, tt.calls)
			}
			for _, want := range tt.want {
				if !strings.Contains(w.Body.String(), want) {
					t.Errorf("the answer %s\nhas no %s", w.Body, want)
				}
			}
			for _, not := range tt.wantNot {
				if strings.Contains(w.Body.String(), not) {
					t.Errorf("the answer %s\nhas %s", w.Body, not)
				}
			}
			if len(m.bodies) != len(tt.answers) || len(r.journal.settled) != len(m.bodies) || len(r.journal.reserved) != len(m.bodies) {
				t.Fatalf("%d rounds of %d, %d settled", len(m.bodies), len(tt.answers), len(r.journal.settled))
			}
			for _, body := range m.bodies {
				if agent.Named([]byte(body)) || strings.Contains(body, "git.example") || strings.Contains(body, "canary") {
					t.Errorf("the provider is told of the server: %s", body)
				}
			}
			for _, want := range tt.second {
				if !strings.Contains(m.bodies[1], want) {
					t.Errorf("the second request %s\nhas no %s", m.bodies[1], want)
				}
			}
			if r.limit.taken != r.limit.released || r.money.taken != r.money.released {
				t.Errorf("limits %d of %d, budget %d of %d given back", r.limit.released, r.limit.taken, r.money.released, r.money.taken)
			}
		})
	}
}

func TestRounds_history(t *testing.T) {
	t.Parallel()
	r, _, m := roundsRig(t)
	m.whole = []string{messageSays}
	r.do("POST", "/v1/messages", `{"model":"claude","max_tokens":9,"messages":[{"role":"user","content":"log?"},{"role":"assistant","content":[{"type":"text","text":"a"},{"type":"mcp_tool_use","id":"x1","name":"log","server_name":"git","input":{}},{"type":"mcp_tool_result","tool_use_id":"x1","content":[{"type":"text","text":"old"}]},{"type":"tool_use","id":"x2","name":"mine","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"x2","content":"new"}]}],"tools":[{"name":"mine","input_schema":{"type":"object"}}]}`)
	var got struct {
		Messages json.RawMessage `json:"messages"`
	}
	if err := json.Unmarshal([]byte(m.bodies[0]), &got); err != nil {
		t.Fatal(err)
	}
	want := `[{"content":"log?","role":"user"},` +
		`{"content":[{"type":"text","text":"a"},{"id":"x1","input":{},"name":"git-log","type":"tool_use"}],"role":"assistant"},` +
		`{"content":[{"content":[{"type":"text","text":"old"}],"is_error":false,"tool_use_id":"x1","type":"tool_result"}],"role":"user"},` +
		`{"content":[{"type":"tool_use","id":"x2","name":"mine","input":{}}],"role":"assistant"},` +
		`{"content":[{"type":"tool_result","tool_use_id":"x2","content":"new"}],"role":"user"}]`
	if string(got.Messages) != want {
		t.Errorf("got  %s\nwant %s", got.Messages, want)
	}
}

// TestRounds_faithful: a request that only talks of such tools, or has functions named so, keeps its bytes.
func TestRounds_faithful(t *testing.T) {
	t.Parallel()
	for path, body := range map[string]string{
		"/v1/messages":         `{"model":"claude",  "max_tokens":9,"messages":[{"role":"user","content":"what is a \"mcp_tool_use\"?"}],"tools":[{"name":"mcp__git__log","input_schema":{"type":"object"}}]}`,
		"/v1/responses":        `{"model":"demo",  "input":[{"role":"user","content":"a \"mcp_call\""},{"type":"function_call","call_id":"c","name":"mcp_call","arguments":"{}"}],"tools":[{"type":"function","name":"mcp"}]}`,
		"/v1/chat/completions": `{"model":"demo",  "messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"mcp","description":"\u00e4"}}]}`,
	} {
		r, _, m := roundsRig(t)
		m.whole = []string{chatSays}
		if w := r.do("POST", path, body); w.Code != 200 || len(m.bodies) != 1 {
			t.Fatalf("%s: got %d %s", path, w.Code, w.Body)
		}
		want, _, _ := strings.Cut(body, `"input"`)
		_, rest, _ := strings.Cut(want, `  `)
		if !strings.Contains(m.bodies[0], `  `+rest) || strings.Contains(m.bodies[0], `"store":false`) {
			t.Errorf("%s: sent %s", path, m.bodies[0])
		}
	}
}

func TestRounds_stream(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, path, body string
		rounds           [][]string
		calls            []string
		want, wantNot    []string
	}{
		{
			"chat", "/v1/chat/completions", `{"model":"demo","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"log?"}],"tools":[` + gitTool + `]}`,
			[][]string{
				chatEvents(
					`{"id":"c1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`,
					`{"id":"c1","choices":[{"index":0,"delta":{"content":"Let me see."},"finish_reason":null}]}`,
					`{"id":"c1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"git-log","arguments":""}}]}}]}`,
					`{"id":"c1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"n\""}}]}}]}`,
					`{"id":"c1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]}}]}`,
					`{"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`,
					`{"id":"c1","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":2}}`,
				),
				chatEvents(
					`{"id":"c2","choices":[{"index":0,"delta":{"role":"assistant","content":"There"}}]}`,
					`{"id":"c2","choices":[{"index":0,"delta":{"content":" is one."}}]}`,
					`{"id":"c2","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`,
					`{"id":"c2","choices":[],"usage":{"prompt_tokens":20,"completion_tokens":3}}`,
				),
			},
			[]string{`git-log {"n":1}`},
			[]string{`"content":"Let me see."`, `"content":"\n\nThere"`, `" is one."`, `"finish_reason":"stop"`, `"usage":{"completion_tokens":5,"prompt_tokens":30}`, `data: [DONE]`, `"result":"result of git-log"`},
			[]string{`c2`, `"finish_reason":"tool_calls"`, `"index":0,"type":"function"`},
		},
		{
			"chat that needs approval", "/v1/chat/completions", `{"model":"demo","stream":true,"messages":[{"role":"user","content":"push"}],"tools":[` + gitAsks + `]}`,
			[][]string{chatEvents(
				`{"id":"c1","choices":[{"index":0,"delta":{"role":"assistant","tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"git-push","arguments":"{}"}}]}}]}`,
				`{"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`,
			)},
			nil,
			[]string{`"name":"git-push"`, `"finish_reason":"tool_calls"`, `[DONE]`},
			[]string{`mcp_call_results`},
		},
		{
			"responses", "/v1/responses", `{"model":"demo","stream":true,"input":"log?","tools":[` + gitTool + `]}`,
			[][]string{
				typed(
					`{"type":"response.created","sequence_number":0,"response":{"id":"r1","status":"in_progress","output":[]}}`,
					`{"type":"response.in_progress","sequence_number":1,"response":{"id":"r1","status":"in_progress","output":[]}}`,
					`{"type":"response.output_item.added","sequence_number":2,"output_index":0,"item":{"type":"function_call","id":"fc_1","call_id":"call_1","name":"git-log","arguments":""}}`,
					`{"type":"response.function_call_arguments.delta","sequence_number":3,"output_index":0,"item_id":"fc_1","delta":"{\"n\":1}"}`,
					`{"type":"response.function_call_arguments.done","sequence_number":4,"output_index":0,"item_id":"fc_1","arguments":"{\"n\":1}"}`,
					`{"type":"response.output_item.done","sequence_number":5,"output_index":0,"item":{"type":"function_call","id":"fc_1","call_id":"call_1","name":"git-log","arguments":"{\"n\":1}"}}`,
					`{"type":"response.completed","sequence_number":6,"response":`+responseCallOnly+`}`,
				),
				typed(
					`{"type":"response.created","sequence_number":0,"response":{"id":"r2","status":"in_progress","output":[]}}`,
					`{"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"type":"message","id":"m1","role":"assistant","content":[]}}`,
					`{"type":"response.output_text.delta","sequence_number":2,"output_index":0,"content_index":0,"item_id":"m1","delta":"There is one."}`,
					`{"type":"response.output_item.done","sequence_number":3,"output_index":0,"item":{"type":"message","id":"m1","role":"assistant","content":[{"type":"output_text","text":"There is one."}]}}`,
					`{"type":"response.completed","sequence_number":4,"response":`+responseSays+`}`,
				),
			},
			[]string{`git-log {"n":1}`},
			[]string{
				`"type":"response.mcp_list_tools.completed"`, `"type":"response.mcp_call.in_progress"`, `"type":"response.mcp_call_arguments.delta"`, `"type":"response.mcp_call.completed"`,
				`"output_index":2,"sequence_number":13,"type":"response.output_text.delta"`, `"id":"r1"`, `"total_tokens":35`, `"output":"result of git-log"`,
			},
			[]string{`"id":"r2"`, `function_call`},
		},
		{
			"messages", "/v1/messages", `{"model":"claude","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"log?"}],"mcp_servers":[{"type":"url","url":"https://git.example/mcp","name":"git"}]}`,
			[][]string{
				typed(
					`{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"usage":{"input_tokens":10,"output_tokens":1}}}`,
					`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`,
					`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}`,
					`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"sig"}}`,
					`{"type":"content_block_stop","index":0}`,
					`{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_1","name":"git-log","input":{}}}`,
					`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"n\":1}"}}`,
					`{"type":"content_block_stop","index":1}`,
					`{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":2}}`,
					`{"type":"message_stop"}`,
				),
				typed(
					`{"type":"message_start","message":{"id":"msg_2","type":"message","role":"assistant","content":[],"usage":{"input_tokens":20,"output_tokens":1}}}`,
					`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`,
					`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"There is one."}}`,
					`{"type":"content_block_stop","index":0}`,
					`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}`,
					`{"type":"message_stop"}`,
				),
			},
			[]string{`git-log {"n":1}`},
			[]string{`"type":"mcp_tool_use"`, `"server_name":"git"`, `"type":"mcp_tool_result"`, `"delta":{"type":"text_delta","text":"There is one."},"index":3`, `"usage":{"input_tokens":30,"output_tokens":5}`, `"stop_reason":"end_turn"`, "event: message_stop"},
			[]string{`msg_2`, `"type":"tool_use"`, `"stop_reason":"tool_use"`},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, b, m := roundsRig(t)
			m.events = tt.rounds
			w := r.do("POST", tt.path, tt.body)
			got := w.Body.String()
			if !slices.Equal(b.calls, tt.calls) {
				t.Errorf("called %q, want %q", b.calls, tt.calls)
			}
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("the stream %s\nhas no %s", got, want)
				}
			}
			for _, not := range tt.wantNot {
				if strings.Contains(got, not) {
					t.Errorf("the stream %s\nhas %s", got, not)
				}
			}
			if len(m.bodies) != len(tt.rounds) || len(r.journal.settled) != len(m.bodies) {
				t.Errorf("%d rounds, %d settled", len(m.bodies), len(r.journal.settled))
			}
			if tt.name == "messages" && !strings.Contains(m.bodies[1], `{"signature":"sig","thinking":"hm","type":"thinking"}`) {
				t.Errorf("the thinking is lost: %s", m.bodies[1])
			}
		})
	}
}

const responseCallOnly = `{"id":"r1","object":"response","status":"completed","output":[{"type":"function_call","id":"fc_1","call_id":"call_1","name":"git-log","arguments":"{\"n\":1}"}],"usage":{"input_tokens":10,"output_tokens":2,"total_tokens":12}}`

func TestRounds_refusals(t *testing.T) {
	t.Parallel()
	tool := func(more string) string {
		return `{"model":"demo","messages":[{"role":"user","content":"x"}],"input":"x","tools":[{"type":"mcp","server_label":"a",` + more + `}]}`
	}
	for _, tt := range []struct {
		name, path, body, code string
		status                 int
	}{
		{"not registered", "/v1/chat/completions", tool(`"server_url":"https://evil.example/mcp"`), "mcp_server_not_allowed", 403},
		{"not registered, in responses", "/v1/responses", tool(`"server_url":"https://evil.example/mcp"`), "mcp_server_not_allowed", 403},
		{"a connector", "/v1/responses", tool(`"connector_id":"connector_gmail"`), "mcp_server_not_allowed", 403},
		{"escaped", "/v1/responses", `{"model":"demo","input":"x","tools":[{"t\u0079pe":"\u006dcp","server_label":"a","server_url":"https://evil.example/mcp"}]}`, "mcp_server_not_allowed", 403},
		{"two types", "/v1/responses", `{"model":"demo","input":"x","tools":[{"type":"mcp","type":"function","server_url":"https://evil.example/mcp"}]}`, "invalid_value", 400},
		{"no address", "/v1/responses", tool(`"require_approval":"never"`), "invalid_value", 400},
		{"a wrong word", "/v1/responses", tool(`"server_url":"litellm_proxy","require_approval":"sometimes"`), "invalid_value", 400},
		{"two of a label", "/v1/responses", `{"model":"demo","input":"x","tools":[` + gitTool + `,` + gitTool + `]}`, "invalid_value", 400},
		{"servers in chat", "/v1/chat/completions", `{"model":"demo","messages":[],"mcp_servers":[{"type":"url","url":"https://evil.example","name":"a"}]}`, "invalid_value", 400},
		{"not registered, in messages", "/v1/messages", `{"model":"claude","max_tokens":1,"messages":[],"mcp_servers":[{"type":"url","url":"https://evil.example","name":"a"}]}`, "mcp_server_not_allowed", 403},
		{"in a count", "/v1/messages/count_tokens", `{"model":"claude","messages":[],"mcp_servers":[{"type":"url","url":"https://evil.example","name":"a"}]}`, "mcp_not_served_here", 403},
		{"passed through", "/openai/responses/compact", `{"model":"demo","tools":[{"type":"mcp","server_label":"a","server_url":"https://evil.example"}]}`, "mcp_not_served_here", 403},
		{"passed through, deep", "/openai/v1/evals", `{"session":{"tools":[{"type":"m\u0063p","server_label":"a","server_url":"https://evil.example"}]}}`, "mcp_not_served_here", 403},
		{"several choices", "/v1/chat/completions", `{"model":"demo","n":2,"messages":[],"tools":[` + gitTool + `]}`, "invalid_value", 400},
		{"approval of nothing", "/v1/responses", `{"model":"demo","input":[{"type":"mcp_approval_response","approval_request_id":"x","approve":true}],"tools":[` + gitTool + `]}`, "invalid_value", 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, b, m := roundsRig(t)
			w := r.do("POST", tt.path, tt.body)
			if w.Code != tt.status || codeOf(t, w.Body.String()) != tt.code {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, tt.status, tt.code)
			}
			if len(m.bodies)+len(b.calls) != 0 {
				t.Errorf("asked %q, called %q", m.bodies, b.calls)
			}
		})
	}
}

func TestRounds_ends(t *testing.T) {
	t.Parallel()
	const body = `{"model":"demo","messages":[{"role":"user","content":"log?"}],"tools":[` + gitTool + `]}`
	t.Run("a model that never stops", func(t *testing.T) {
		t.Parallel()
		r, b, m := roundsRig(t)
		m.whole = slices.Repeat([]string{chatCall}, 20)
		w := r.do("POST", "/v1/chat/completions", body)
		if w.Code != 200 || len(m.bodies) != 10 || len(b.calls) != 9 || !strings.Contains(m.bodies[9], `"tool_choice":"none"`) || strings.Contains(m.bodies[8], `"tool_choice":"none"`) {
			t.Errorf("got %d, %d rounds, %d calls", w.Code, len(m.bodies), len(b.calls))
		}
	})
	t.Run("a budget that ends", func(t *testing.T) {
		t.Parallel()
		r, b, m := roundsRig(t)
		m.whole, b.fail = []string{chatCall, chatSays}, &llm.Error{Kind: llm.OverBudget, Code: "budget_exceeded", Message: "spent"}
		if w := r.do("POST", "/v1/chat/completions", body); w.Code != 429 || codeOf(t, w.Body.String()) != "budget_exceeded" || len(m.bodies) != 1 {
			t.Errorf("got %d %s after %d rounds", w.Code, w.Body, len(m.bodies))
		}
	})
	t.Run("a tool that is refused", func(t *testing.T) {
		t.Parallel()
		r, b, m := roundsRig(t)
		m.whole, b.fail = []string{chatCall, chatSays}, &llm.Error{Kind: llm.Blocked, Message: "not this"}
		if w := r.do("POST", "/v1/chat/completions", body); w.Code != 200 || !strings.Contains(m.bodies[1], "Error: not this") {
			t.Errorf("got %d %s, asked %q", w.Code, w.Body, m.bodies)
		}
	})
	t.Run("a round that fails", func(t *testing.T) {
		t.Parallel()
		r, _, m := roundsRig(t)
		m.whole = []string{chatCall}
		if w := r.do("POST", "/v1/chat/completions", body); w.Code != 502 {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
	})
	t.Run("a streamed round that fails", func(t *testing.T) {
		t.Parallel()
		r, _, m := roundsRig(t)
		m.events = [][]string{chatEvents(
			`{"id":"c1","choices":[{"index":0,"delta":{"content":"a","tool_calls":[{"index":0,"id":"x","function":{"name":"git-log","arguments":"{}"}}]}}]}`,
			`{"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`,
		)}
		w := r.do("POST", "/v1/chat/completions", strings.Replace(body, "{", `{"stream":true,`, 1))
		if got := w.Body.String(); w.Code != 200 || !strings.Contains(got, `data: {"error":`) || strings.Contains(got, "[DONE]") {
			t.Errorf("got %d %s", w.Code, got)
		}
	})
	t.Run("an answer that is none", func(t *testing.T) {
		t.Parallel()
		r, _, m := roundsRig(t)
		m.whole = []string{`{"choices":[]}`}
		if w := r.do("POST", "/v1/chat/completions", body); w.Code != 502 || codeOf(t, w.Body.String()) != "invalid_answer" {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
	})
	t.Run("a client that leaves", func(t *testing.T) {
		t.Parallel()
		r, b, m := roundsRig(t)
		m.whole = []string{chatCall, chatSays}
		ctx, cancel := context.WithCancelCause(t.Context())
		r.upstream = func(ctx context.Context, a *upstream.Attempt) (proxy.Answer, error) {
			answer, err := m.do(ctx, a)
			cancel(errors.New("left"))
			return answer, err
		}
		r.do("POST", "/v1/chat/completions", body, func(req *http.Request) { *req = *req.WithContext(ctx) })
		if len(m.bodies) != 1 {
			t.Errorf("%d rounds", len(m.bodies))
		}
		if len(b.calls) > 1 {
			t.Errorf("called %q", b.calls)
		}
	})
}
