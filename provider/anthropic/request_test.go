package anthropic_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/anthropic"
)

var (
	_ provider.Inbound  = anthropic.Format{}
	_ provider.Outbound = anthropic.Format{}
)

// agentRequest is what a coding agent sends: thinking, tools, marks of the cache, a loop of tools.
const agentRequest = `{"model":"claude-opus-4-6","max_tokens":32000,"thinking":{"type":"enabled","budget_tokens":16000},` +
	`"stream":true,"system":[{"type":"text","text":"You are an agent.","cache_control":{"type":"ephemeral","ttl":"1h"}}],` +
	`"messages":[{"role":"user","content":[{"type":"text","text":"list"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="}}]},` +
	`{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"EqQBCgIYAhIk/+=="},{"type":"redacted_thinking","data":"EmwK"},` +
	`{"type":"text","text":"I look."},{"type":"tool_use","id":"toolu_01A","name":"Bash","input":{"command":"ls","n":1.0}},{"type":"tool_use","id":"toolu_01B","name":"Read","input":{}}]},` +
	`{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_01B","content":[{"type":"text","text":"a"},{"type":"image","source":{"type":"url","url":"https://x.example/a.png"}}]},` +
	`{"type":"tool_result","tool_use_id":"toolu_01A","content":[{"type":"text","text":"boom"}],"is_error":true,"cache_control":{"type":"ephemeral"}},{"type":"text","text":"go on"}]},` +
	`{"role":"assistant","content":[{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{"query":"q"}},{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[{"type":"web_search_result","url":"https://x.example","encrypted_content":"E"}]},` +
	`{"type":"text","text":"found","citations":[{"type":"web_search_result_location","url":"https://x.example","encrypted_index":"I"}]}]},` +
	`{"role":"user","content":[{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0="},"title":"a.pdf"}]}],` +
	`"tools":[{"name":"Bash","description":"Runs","input_schema":{"type":"object","properties":{"command":{"type":"string"}}},"cache_control":{"type":"ephemeral"}},` +
	`{"name":"Read","input_schema":{"type":"object","properties":{}}},{"type":"web_search_20250305","name":"web_search","max_uses":5}],` +
	`"tool_choice":{"type":"auto","disable_parallel_tool_use":true},"stop_sequences":["END"],"metadata":{"user_id":"u1"},` +
	`"service_tier":"standard_only","container":"c","mcp_servers":[{"type":"url","url":"https://m.example","name":"m"}]}`

// TestRewrite_Faithful: what a client of Anthropic's asks reaches Anthropic byte for byte, but for
// the model's name, whatever stands in it.
func TestRewrite_Faithful(t *testing.T) {
	t.Parallel()
	odd := strings.NewReplacer(`{"type":"thinking"`, `{ "type" : "thinking" `, `"content":`, "\"content\" :\n ", `"hm"`, `"\u0068\/\ud83d\ude00 é"`, `1.0`, `1.50e+2`).Replace(agentRequest)
	for _, body := range []string{agentRequest, odd} {
		f, err := llm.Peek([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		edits := llm.Edits{Model: "claude-opus-4-6-20260205", DropOwn: true, Endpoint: llm.Messages}
		got := string(llm.Rewrite([]byte(body), &f, edits))
		if want := strings.Replace(body, `"claude-opus-4-6"`, `"claude-opus-4-6-20260205"`, 1); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		edits.Model = "claude-opus-4-6"
		if got := string(llm.Rewrite([]byte(body), &f, edits)); got != body {
			t.Errorf("the model is the same, but got\n%s", got)
		}
	}
}

// TestRequest_RoundTrip: what is read is written again with the same meaning.
func TestRequest_RoundTrip(t *testing.T) {
	t.Parallel()
	req, err := anthropic.Format{}.DecodeRequest([]byte(agentRequest))
	if err != nil {
		t.Fatal(err)
	}
	before := mustJSON(t, req)
	out, err := anthropic.Format{}.EncodeRequest(req, &llm.Target{Model: "claude-opus-4-6", Policy: llm.PolicyReject})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(parse(t, agentRequest), parse(t, string(out))); d != "" {
		t.Errorf("request (-want +got):\n%s", d)
	}
	if d := cmp.Diff(before, mustJSON(t, req)); d != "" {
		t.Errorf("the request has changed:\n%s", d)
	}
}

func parse(t testing.TB, body string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return v
}

func mustJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDecodeRequest(t *testing.T) {
	t.Parallel()
	budget, zero, no := int64(2000), int64(0), false
	for _, tt := range []struct {
		name, in string
		want     chat.Request
	}{
		{"texts", `"messages":[{"role":"user","content":"hi"},{"content":"mid","role":"system"}],"system":"be"`, chat.Request{Messages: []chat.Message{says(chat.RoleSystem, text("be")), says(chat.RoleUser, text("hi")), says(chat.RoleSystem, text("mid"))}}},
		{
			"results are messages of their own", `"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"tool_use_id":"1","content":"x","type":"tool_result"},{"type":"tool_result","tool_use_id":"2"},{"type":"text","text":"b"}]}]`,
			chat.Request{Messages: []chat.Message{says(chat.RoleUser, text("a")), says(chat.RoleTool, result("1", text("x")), result("2")), says(chat.RoleUser, text("b"))}},
		},
		{
			"documents and results of searches are text where they are text", `"messages":[{"role":"user","content":[{"type":"document","title":"T","source":{"type":"text","media_type":"text/plain","data":"d"}},` +
				`{"type":"document","cache_control":{"type":"ephemeral"},"source":{"type":"content","content":[{"type":"text","text":"c"}]}},{"type":"search_result","source":"https://s.example","title":"S","content":[{"type":"text","text":"r"}]}]}]`,
			chat.Request{Messages: []chat.Message{says(chat.RoleUser, text("T\nd"), chat.Part{Text: "c", CacheControl: json.RawMessage(`{"type":"ephemeral"}`)}, text("S\nhttps://s.example\nr"))}},
		},
		{
			"the signature of a call", `"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"c__sig__czEr","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c__sig__czEr"}]}]`,
			chat.Request{Messages: []chat.Message{says(chat.RoleAssistant, chat.Part{Type: chat.PartToolCall, ID: "c", Signature: "s1+", Name: "f", Arguments: json.RawMessage(`{}`)}), says(chat.RoleTool, result("c"))}},
		},
		{"budget", `"messages":[],"thinking":{"type":"enabled","budget_tokens":2000,"display":"summarized"}`, chat.Request{Reasoning: chat.Reasoning{Budget: &budget, Summary: "auto"}}},
		{"no thoughts", `"messages":[],"thinking":{"type":"disabled"}`, chat.Request{Reasoning: chat.Reasoning{Budget: &zero}}},
		{"effort", `"messages":[],"thinking":{"type":"adaptive","display":"omitted"},"output_config":{"effort":"xhigh"}`, chat.Request{Reasoning: chat.Reasoning{Adaptive: true, Effort: "xhigh", Summary: "none"}}},
		{"form", `"messages":[],"output_format":{"type":"json_schema","schema":{"type":"object"}}`, chat.Request{Format: chat.Format{Type: "json_schema", Schema: json.RawMessage(`{"type":"object"}`)}}},
		{"tools", `"messages":[],"tools":[{"type":"custom","name":"f"},{"type":"web_search_20250305","name":"web_search"},{"type":"mcp_toolset","mcp_server_name":"m"}],"tool_choice":{"type":"any","disable_parallel_tool_use":true}`, chat.Request{
			Tools:      []chat.Tool{{Name: "f"}, {Name: "web_search", Kind: "web_search", Raw: json.RawMessage(`{"type":"web_search_20250305","name":"web_search"}`), Origin: "messages"}, {Kind: "mcp_toolset", Raw: json.RawMessage(`{"type":"mcp_toolset","mcp_server_name":"m"}`), Origin: "messages"}},
			ToolChoice: chat.ToolChoice{Mode: "required"}, ParallelTools: &no,
		}},
		{"null is nothing", `"messages":null,"system":null,"temperature":null,"top_k":null,"tools":null,"tool_choice":null,"thinking":null,"metadata":null,"stop_sequences":null,"stream":null,"output_config":null,"container":null`, chat.Request{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := anthropic.Format{}.DecodeRequest([]byte("{" + tt.in + "}"))
			if tt.name == "null is nothing" {
				if e, ok := errors.AsType[*llm.Error](err); !ok || e.Param != "messages" {
					t.Errorf("got %v, want messages to be wrong alone", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(&tt.want, got, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("request (-want +got):\n%s", d)
			}
		})
	}
}

func TestDecodeRequest_Wrong(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, in, param string }{
		{"no object", `[]`, ""},
		{"cut", `{"messages":[`, ""},
		{"no messages", `{"model":"m"}`, "messages"},
		{"messages of another kind", `{"messages":"x"}`, "messages"},
		{"message of another kind", `{"messages":[5]}`, "messages.0.role"},
		{"role", `{"messages":[{"role":"tool","content":"x"}]}`, "messages.0.role"},
		{"content", `{"messages":[{"role":"user","content":5}]}`, "messages.0.content"},
		{"block of another kind", `{"messages":[{"role":"user","content":["x"]}]}`, "messages.0.content.0.type"},
		{"block without a type", `{"messages":[{"role":"user","content":[{"text":"x"}]}]}`, "messages.0.content.0.type"},
		{"text of another kind", `{"messages":[{"role":"user","content":[{"type":"text","text":5}]}]}`, "messages.0.content.0.text"},
		{"second block", `{"messages":[{"role":"user","content":"x"},{"role":"user","content":[{"type":"text","text":"x"},{"type":"image"}]}]}`, "messages.1.content.1.source"},
		{"source without data", `{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64"}}]}]}`, "messages.0.content.0.source.type"},
		{"result without a call", `{"messages":[{"role":"user","content":[{"type":"tool_result","content":"x"}]}]}`, "messages.0.content.0.tool_use_id"},
		{"block in a result", `{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":[{"type":"text","text":1}]}]}]}`, "messages.0.content.0.content.0.text"},
		{"max_tokens", `{"messages":[],"max_tokens":"x"}`, "max_tokens"},
		{"temperature", `{"messages":[],"temperature":"x"}`, "temperature"},
		{"stream", `{"messages":[],"stream":1}`, "stream"},
		{"stop", `{"messages":[],"stop_sequences":"x"}`, "stop_sequences"},
		{"one stop", `{"messages":[],"stop_sequences":["a",1]}`, "stop_sequences.1"},
		{"thinking", `{"messages":[],"thinking":{"type":"x"}}`, "thinking.type"},
		{"budget", `{"messages":[],"thinking":{"type":"enabled"}}`, "thinking.budget_tokens"},
		{"tools", `{"messages":[],"tools":{}}`, "tools"},
		{"tool without a name", `{"messages":[],"tools":[{"name":"a"},{}]}`, "tools.1.name"},
		{"choice", `{"messages":[],"tool_choice":{"type":"x"}}`, "tool_choice.type"},
		{"choice of nothing", `{"messages":[],"tool_choice":{"type":"tool"}}`, "tool_choice.name"},
		{"format", `{"messages":[],"output_config":{"format":{"type":"x"}}}`, "output_config.format.type"},
		{"format without a schema", `{"messages":[],"output_format":{"type":"json_schema"}}`, "output_format"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := anthropic.Format{}.DecodeRequest([]byte(tt.in))
			e, ok := errors.AsType[*llm.Error](err)
			if !ok || e.Kind != llm.Invalid || e.Param != tt.param {
				t.Errorf("got %+v, want it to name %q", err, tt.param)
			}
		})
	}
}

// text, call and result make parts.
func text(s string) chat.Part { return chat.Part{Text: s} }

func call(id, name, args string) chat.Part {
	return chat.Part{Type: chat.PartToolCall, ID: id, Name: name, Arguments: json.RawMessage(args)}
}

func result(id string, parts ...chat.Part) chat.Part {
	return chat.Part{Type: chat.PartToolResult, ID: id, Parts: parts}
}

func says(role chat.Role, parts ...chat.Part) chat.Message {
	return chat.Message{Role: role, Parts: parts}
}

func TestEncodeRequest(t *testing.T) {
	t.Parallel()
	hi := []chat.Message{says(chat.RoleUser, text("hi"))}
	const asked = `"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]`
	yes, no, half, budget := true, false, 0.5, int64(3000)
	two := 2.0
	big := int64(50000)
	zero := int64(0)
	one := []chat.Tool{{Name: "f"}}
	const oneTool = `"tools":[{"name":"f","input_schema":{"type":"object","properties":{}}}]`
	for _, tt := range []struct {
		name    string
		model   string // "" is claude-opus-4-5
		req     chat.Request
		target  llm.Target
		want    string // "model" is put before
		dropped string
	}{
		{"least", "", chat.Request{Messages: hi}, llm.Target{}, `"max_tokens":4096,` + asked, ""},
		{"maximum of the model", "", chat.Request{Messages: hi}, llm.Target{MaxOutput: 64000}, `"max_tokens":64000,` + asked, ""},
		{"maximum of the client", "", chat.Request{Messages: hi, MaxTokens: 5, Stream: true}, llm.Target{MaxOutput: 64000}, `"max_tokens":5,"stream":true,` + asked, ""},
		{
			"instructions from everywhere", "",
			chat.Request{Messages: []chat.Message{says(chat.RoleDeveloper, text("a")), hi[0], says(chat.RoleSystem, chat.Part{Text: "b", CacheControl: json.RawMessage(`{"type":"ephemeral"}`)})}},
			llm.Target{},
			`"max_tokens":4096,"system":[{"type":"text","text":"a"},{"type":"text","text":"b","cache_control":{"type":"ephemeral"}}],` + asked, "",
		},
		{"instructions alone", "", chat.Request{Messages: []chat.Message{says(chat.RoleSystem, text("hi"))}}, llm.Target{}, `"max_tokens":4096,` + asked, ""},
		{
			"one side speaks twice, blanks", "",
			chat.Request{Messages: []chat.Message{hi[0], says(chat.RoleUser, text(" \n"), text("b")), says(chat.RoleAssistant, text("")), says(chat.RoleUser, text("c"))}},
			llm.Target{},
			`"max_tokens":4096,"messages":[{"role":"user","content":[{"type":"text","text":"hi"},{"type":"text","text":"b"},{"type":"text","text":"c"}]}]`, "",
		},
		{
			"the assistant begins and is to go on", "",
			chat.Request{Messages: []chat.Message{says(chat.RoleAssistant, text("a")), hi[0], says(chat.RoleAssistant, text("{ "))}},
			llm.Target{},
			`"max_tokens":4096,"messages":[{"role":"user","content":[{"type":"text","text":"."}]},{"role":"assistant","content":[{"type":"text","text":"a"}]},{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":[{"type":"text","text":"{"}]}]`, "",
		},
		{
			"calls: broken ids, no ids, broken arguments, results late and of nothing", "",
			chat.Request{Messages: []chat.Message{
				hi[0],
				says(chat.RoleAssistant, call("functions.f:0", "f", ""), call("", "g", `{"a": 1}`), call("x", "h", `{"a":`)),
				says(chat.RoleUser, text("wait")),
				says(chat.RoleTool, chat.Part{Type: chat.PartToolResult, Name: "g", Parts: []chat.Part{text("2")}}),
				says(chat.RoleTool, result("functions.f:0", text("1"))),
				says(chat.RoleTool, result("x"), result("x", text("again")), result("nobody", text("lost"), text(" "))),
			}},
			llm.Target{},
			`"max_tokens":4096,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":[` +
				`{"type":"tool_use","id":"functions_f_0","name":"f","input":{}},{"type":"tool_use","id":"call_2","name":"g","input":{"a": 1}},{"type":"tool_use","id":"x","name":"h","input":{"arguments":"{\"a\":"}}]},` +
				`{"role":"user","content":[{"type":"tool_result","tool_use_id":"call_2","content":[{"type":"text","text":"2"}]},{"type":"tool_result","tool_use_id":"functions_f_0","content":[{"type":"text","text":"1"}]},` +
				`{"type":"tool_result","tool_use_id":"x"},{"type":"text","text":"again"},{"type":"text","text":"lost"},{"type":"text","text":"wait"}]}]`, "",
		},
		{
			"thoughts of others and unsigned ones", "",
			chat.Request{Messages: []chat.Message{
				hi[0], says(chat.RoleAssistant, chat.Part{Type: chat.PartReasoning, Text: "t"}, chat.Part{Type: chat.PartReasoning, Text: "t", Signature: "s", Origin: "generate_content"},
					chat.Part{Type: chat.PartReasoning, Text: "t", Signature: "s"}, chat.Part{Type: chat.PartOther, Raw: json.RawMessage(`{}`), Origin: "responses"}, text("a")), hi[0],
			}},
			llm.Target{},
			`"max_tokens":4096,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"s"},{"type":"text","text":"a"}]},{"role":"user","content":[{"type":"text","text":"hi"}]}]`,
			"messages.content",
		},
		{
			"media", "",
			chat.Request{Messages: []chat.Message{says(chat.RoleUser,
				chat.Part{Type: chat.PartImage, Media: &chat.Media{URL: "data:image/jpg;base64,/9j/"}}, chat.Part{Type: chat.PartImage, Media: &chat.Media{Data: "UklGR"}}, chat.Part{Type: chat.PartImage, Media: &chat.Media{FileID: "file_1"}},
				chat.Part{Type: chat.PartFile, Media: &chat.Media{URL: "https://x.example/a.pdf", Name: "a"}}, chat.Part{Type: chat.PartFile, Media: &chat.Media{Data: "aGk=", MIME: "text/csv"}}, chat.Part{Type: chat.PartFile, Media: &chat.Media{Data: "JVBER"}})}},
			llm.Target{},
			`"max_tokens":4096,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"/9j/"}},{"type":"image","source":{"type":"base64","media_type":"image/webp","data":"UklGR"}},{"type":"image","source":{"type":"file","file_id":"file_1"}},` +
				`{"type":"document","source":{"type":"url","url":"https://x.example/a.pdf"},"title":"a"},{"type":"document","source":{"type":"text","media_type":"text/plain","data":"hi"}},{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBER"}}]}]`, "",
		},
		{
			"tools", "",
			chat.Request{Messages: hi, Tools: []chat.Tool{
				{Name: "f", Description: "d", Parameters: json.RawMessage(`{"properties":{}}`), Strict: &yes, CacheControl: json.RawMessage(`{"type":"ephemeral"}`)},
				{Kind: "web_search", Raw: json.RawMessage(`{"type":"web_search","user_location":{"type":"approximate","city":"Bern"},"filters":{"allowed_domains":["x.example"]}}`), Origin: "responses"},
				{Kind: "file_search", Raw: json.RawMessage(`{"type":"file_search"}`), Origin: "responses"},
				{Kind: "bash", Raw: json.RawMessage(`{"type":"bash_20250124","name":"bash"}`), Origin: "messages"},
			}, ToolChoice: chat.ToolChoice{Mode: "required"}, ParallelTools: &no},
			llm.Target{},
			`"max_tokens":4096,` + asked + `,"tools":[{"name":"f","description":"d","input_schema":{"type":"object","properties":{},"additionalProperties":false},"strict":true,"cache_control":{"type":"ephemeral"}},` +
				`{"type":"web_search_20250305","name":"web_search","user_location":{"type":"approximate","city":"Bern"},"allowed_domains":["x.example"]},{"type":"bash_20250124","name":"bash"}],"tool_choice":{"type":"any","disable_parallel_tool_use":true}`, "tools",
		},
		{
			"a strict tool's schema is what an answer's is", "",
			chat.Request{Messages: hi, Tools: []chat.Tool{{Name: "f", Parameters: json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer","minimum":1}},"required":["n"]}`), Strict: &yes}}},
			llm.Target{},
			`"max_tokens":4096,` + asked + `,"tools":[{"name":"f","input_schema":{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false},"strict":true}]`, "",
		},
		{
			"a model that knows no strict tools", "claude-sonnet-4-20250514",
			chat.Request{Messages: hi, Tools: []chat.Tool{{Name: "f", Parameters: json.RawMessage(`{"type":"object","properties":{"n":{"minimum":1}}}`), Strict: &yes}}},
			llm.Target{},
			`"max_tokens":4096,` + asked + `,"tools":[{"name":"f","input_schema":{"type":"object","properties":{"n":{"minimum":1}}}}]`, "tools.strict",
		},
		{"metadata beside a user", "", chat.Request{Messages: hi, User: "u", Metadata: json.RawMessage(`{"a":"b"}`)}, llm.Target{}, `"max_tokens":4096,` + asked + `,"metadata":{"user_id":"u"}`, "metadata"},
		{"allowed tools", "", chat.Request{Messages: hi, Tools: []chat.Tool{{Name: "e"}, {Name: "f"}}, ToolChoice: chat.ToolChoice{Mode: "tool", Name: "f", Only: []string{"f"}}}, llm.Target{}, `"max_tokens":4096,` + asked + `,` + oneTool + `,"tool_choice":{"type":"tool","name":"f"}`, ""},
		{"no tools", "", chat.Request{Messages: hi, ToolChoice: chat.ToolChoice{Mode: "auto"}, ParallelTools: &no}, llm.Target{}, `"max_tokens":4096,` + asked, ""},
		{"search", "", chat.Request{Messages: hi, WebSearch: json.RawMessage(`{"user_location":{"type":"approximate","approximate":{"country":"CH"}}}`)}, llm.Target{}, `"max_tokens":4096,` + asked + `,"tools":[{"type":"web_search_20250305","name":"web_search","user_location":{"type":"approximate","country":"CH"}}]`, ""},
		{"settings", "", chat.Request{Messages: hi, Temperature: &half, Stop: []string{"a", "\n"}, User: "u", ServiceTier: "priority", CacheControl: json.RawMessage(`{"type":"ephemeral"}`)}, llm.Target{}, `"max_tokens":4096,"temperature":0.5,` + asked + `,"stop_sequences":["a"],"metadata":{"user_id":"u"},"service_tier":"auto","cache_control":{"type":"ephemeral"}`, "stop"},
		{"temperature out of bounds, address of a user", "", chat.Request{Messages: hi, Temperature: &two, TopP: &half, User: "a@x.example"}, llm.Target{}, `"max_tokens":4096,"temperature":1,` + asked, "temperature,top_p,user"},
		{"what there is no word for", "", chat.Request{Messages: hi, N: 2, FrequencyPenalty: &half, PresencePenalty: &half, MinP: &half, Seed: &budget, LogProbs: true, TopLogProbs: 3, LogitBias: json.RawMessage(`{"5":1}`), Prediction: json.RawMessage(`{}`), Verbosity: "low", CacheKey: "k", ServiceTier: "flex", Extra: map[string]json.RawMessage{"foo": json.RawMessage(`1`), "speed": json.RawMessage(`"fast"`)}}, llm.Target{}, `"max_tokens":4096,` + asked + `,"speed":"fast"`, "service_tier,n,frequency_penalty,presence_penalty,min_p,seed,logprobs,top_logprobs,logit_bias,prediction,verbosity,prompt_cache_key,foo"},
		{"passed on", "", chat.Request{Messages: hi, Seed: &budget, Extra: map[string]json.RawMessage{"foo": json.RawMessage(`1`), "max_tokens": json.RawMessage(`1`)}}, llm.Target{Policy: llm.PolicyPass}, `"max_tokens":4096,` + asked + `,"seed":3000,"foo":1`, ""},

		{"effort", "", chat.Request{Messages: hi, Reasoning: chat.Reasoning{Effort: "high"}}, llm.Target{}, `"max_tokens":8192,"thinking":{"type":"enabled","budget_tokens":4096},` + asked, ""},
		{"effort below the maximum", "", chat.Request{Messages: hi, MaxTokens: 6000, Reasoning: chat.Reasoning{Effort: "high", Summary: "auto"}}, llm.Target{}, `"max_tokens":6000,"thinking":{"type":"enabled","budget_tokens":3000,"display":"summarized"},` + asked, ""},
		{"no room for thoughts", "", chat.Request{Messages: hi, MaxTokens: 1500, Reasoning: chat.Reasoning{Effort: "high"}}, llm.Target{}, `"max_tokens":1500,` + asked, "reasoning_effort"},
		{"budget", "", chat.Request{Messages: hi, Reasoning: chat.Reasoning{Budget: &big}, Temperature: &half}, llm.Target{MaxOutput: 64000}, `"max_tokens":64000,"thinking":{"type":"enabled","budget_tokens":50000},` + asked, "temperature"},
		{"no thoughts", "", chat.Request{Messages: hi, Reasoning: chat.Reasoning{Effort: "none"}}, llm.Target{}, `"max_tokens":4096,"thinking":{"type":"disabled"},` + asked, ""},
		{"a budget of nothing", "", chat.Request{Messages: hi, Reasoning: chat.Reasoning{Budget: &zero}}, llm.Target{}, `"max_tokens":4096,"thinking":{"type":"disabled"},` + asked, ""},
		{"a model without thoughts", "claude-3-5-haiku-latest", chat.Request{Messages: hi, Reasoning: chat.Reasoning{Effort: "low"}, Temperature: &half, TopP: &half}, llm.Target{}, `"max_tokens":4096,"temperature":0.5,"top_p":0.5,` + asked, "reasoning_effort"},
		{"a model that decides itself", "us.anthropic.claude-opus-4-6-v1:0", chat.Request{Messages: hi, Reasoning: chat.Reasoning{Effort: "xhigh"}}, llm.Target{}, `"max_tokens":4096,"thinking":{"type":"adaptive"},"output_config":{"effort":"max"},` + asked, ""},
		{"a new model", "claude-opus-4-8", chat.Request{Messages: hi, Reasoning: chat.Reasoning{Budget: &budget, Summary: "none"}, Temperature: &half, TopP: &half, TopK: &budget}, llm.Target{}, `"max_tokens":4096,"thinking":{"type":"adaptive","display":"omitted"},"output_config":{"effort":"medium"},` + asked, "temperature,top_p,top_k"},
		{"a tool is forced", "", chat.Request{Messages: hi, Tools: one, ToolChoice: chat.ToolChoice{Mode: "required"}, Reasoning: chat.Reasoning{Effort: "low"}}, llm.Target{}, `"max_tokens":4096,` + asked + `,` + oneTool + `,"tool_choice":{"type":"any"}`, "reasoning_effort"},
		{"the thoughts of a loop are lost", "", chat.Request{Messages: []chat.Message{hi[0], says(chat.RoleAssistant, call("a", "f", "{}")), says(chat.RoleTool, result("a"))}, Reasoning: chat.Reasoning{Effort: "low"}}, llm.Target{}, `"max_tokens":5120,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"}]}]`, "reasoning_effort"},

		{"schema", "", chat.Request{Messages: hi, Format: chat.Format{Type: "json_schema", Name: "n", Schema: json.RawMessage(`{"type":"object","properties":{"z":{"type":"integer","minimum":1},"minimum":{"type":["object","null"],"properties":{}},"list":{"type":"array","items":{"type":"object","properties":{},"additionalProperties":false}}},"$defs":{"a":{"anyOf":[{"type":"object"}]}}}`)}}, llm.Target{}, `"max_tokens":4096,"output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{"z":{"type":"integer"},"minimum":{"type":["object","null"],"properties":{},"additionalProperties":false},"list":{"type":"array","items":{"type":"object","properties":{},"additionalProperties":false}}},"$defs":{"a":{"anyOf":[{"type":"object","additionalProperties":false}]}},"additionalProperties":false}}},` + asked, ""},
		{"schema of an old model", "claude-sonnet-4-20250514", chat.Request{Messages: hi, Format: chat.Format{Type: "json_schema", Schema: json.RawMessage(`{}`)}}, llm.Target{}, `"max_tokens":4096,"system":[{"type":"text","text":"Answer with one JSON object and nothing else: no words around it and no code fence. It must be valid under this JSON schema: {}"}],` + asked, "response_format"},
		{"any object", "", chat.Request{Messages: hi, Format: chat.Format{Type: "json_object"}}, llm.Target{}, `"max_tokens":4096,"system":[{"type":"text","text":"Answer with one JSON object and nothing else: no words around it and no code fence."}],` + asked, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.target.Model = "claude-opus-4-5"
			if tt.model != "" {
				tt.target.Model = tt.model
			}
			before := fmt.Sprintf("%+v", tt.req)
			got, err := anthropic.Format{}.EncodeRequest(&tt.req, &tt.target)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(`{"model":"`+tt.target.Model+`",`+tt.want+`}`, string(got)); d != "" {
				t.Errorf("request (-want +got):\n%s", d)
			}
			if d := strings.Join(tt.target.Dropped(), ","); d != tt.dropped {
				t.Errorf("dropped %q, want %q", d, tt.dropped)
			}
			if fmt.Sprintf("%+v", tt.req) != before {
				t.Error("the request has changed")
			}
		})
	}
}

func TestEncodeRequest_Unsayable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, param string
		req         chat.Request
	}{
		{"nothing", "messages", chat.Request{}},
		{"sound", "messages", chat.Request{Messages: []chat.Message{says(chat.RoleUser, chat.Part{Type: chat.PartAudio, Media: &chat.Media{Data: "x"}})}}},
		{"an address that Anthropic cannot reach", "messages", chat.Request{Messages: []chat.Message{says(chat.RoleUser, chat.Part{Type: chat.PartImage, Media: &chat.Media{URL: "gs://b/x"}})}}},
		{"a kind of file", "messages", chat.Request{Messages: []chat.Message{says(chat.RoleUser, chat.Part{Type: chat.PartFile, Media: &chat.Media{Data: "x", MIME: "application/zip"}})}}},
		{"spoken answers", "modalities", chat.Request{Messages: []chat.Message{says(chat.RoleUser, text("hi"))}, Modalities: []string{"text", "audio"}}},
		{"refused by the policy", "seed", chat.Request{Messages: []chat.Message{says(chat.RoleUser, text("hi"))}, Seed: new(int64)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := anthropic.Format{}.EncodeRequest(&tt.req, &llm.Target{Model: "claude-opus-4-5", Policy: llm.PolicyReject})
			e, ok := errors.AsType[*llm.Error](err)
			if !ok || e.Kind != llm.Invalid || e.Param != tt.param {
				t.Errorf("got %+v, want it to name %q", err, tt.param)
			}
		})
	}
}

func FuzzDecodeRequest(f *testing.F) {
	f.Add([]byte(agentRequest))
	f.Add([]byte(`{"messages":[{"role":"user","content":[{"type":"document","source":{"type":"content","content":[{"type":"text","text":"x"}]}},{"type":"search_result","source":"s","title":"t","content":[]}]}],"thinking":{"type":"adaptive"},"output_config":{"effort":"max","format":{"type":"json_schema","schema":{}}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := anthropic.Format{}.DecodeRequest(body)
		if err != nil {
			if _, ok := errors.AsType[*llm.Error](err); !ok {
				t.Fatalf("got %v", err)
			}
			return
		}
		for _, model := range []string{"claude-3-opus", "claude-opus-4-8", "deepseek-chat"} {
			out, err := anthropic.Format{}.EncodeRequest(req, &llm.Target{Model: model})
			if err == nil && !json.Valid(out) {
				t.Fatalf("got %s", out)
			}
		}
	})
}
