package mock_test

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/mock"
	"github.com/conclave-llm/conclave/provider/anthropic"
)

// version is the header that every request must have.
var version = []string{"Anthropic-Version", "2023-06-01"}

const asked = `"max_tokens":2000,"messages":[{"role":"user","content":"a b c"}]`

func TestMessages(t *testing.T) {
	t.Parallel()
	_, url := start(t, mock.Config{})
	const tools = `,"tools":[{"type":"web_search_20250305","name":"web_search"},{"name":"f","input_schema":{"type":"object","properties":{"q":{"type":"string"},"n":{"type":"integer"}}}},{"name":"g","input_schema":{"type":"object"}}]`
	const thinking = `{"type":"thinking","thinking":"Let me think.","signature":"bW9jay1zaWduYXR1cmU="}`
	for _, tt := range []struct {
		name, body string
		headers    []string
		content    string
		finish     string
		usage      llm.Usage // without Source and Service
	}{
		{"echo", asked, nil, `[{"type":"text","text":"You said: a b c"}]`, "end_turn", llm.Usage{Input: 9, Output: 5}},
		{"blocks", `"max_tokens":2000,"messages":[{"role":"user","content":[{"text":"q\"","type":"text"}]}]`, nil, `[{"type":"text","text":"You said: q\""}]`, "end_turn", llm.Usage{Input: 15, Output: 3}},
		{"limit", `"max_tokens":1,"messages":[{"role":"user","content":"a b c"}]`, nil, `[{"type":"text","text":"You"}]`, "max_tokens", llm.Usage{Input: 9, Output: 1}},
		{"thinking", asked + `,"thinking":{"type":"adaptive"}`, nil, `[` + thinking + `,{"type":"text","text":"You said: a b c"}]`, "end_turn", llm.Usage{Input: 9, Output: 5, Reasoning: 4}},
		{"tool", asked + tools, []string{"x-mock-usage", "40,9,30"}, `[{"type":"tool_use","id":"toolu_mock","name":"f","input":{"n":1,"q":"text"}}]`, "tool_use", llm.Usage{Input: 10, CacheRead: 30, Output: 9}},
		{"thinking and this tool", asked + tools + `,"tool_choice":{"type":"tool","name":"g"},"thinking":{"type":"enabled","budget_tokens":1024}`, []string{"x-mock-usage", "4,9,0,5"}, `[` + thinking + `,{"type":"tool_use","id":"toolu_mock","name":"g","input":{}}]`, "tool_use", llm.Usage{Input: 4, Output: 4, Reasoning: 5}},
		{"no tool", asked + tools + `,"tool_choice":{"type":"none"}`, []string{"x-mock-chunks", "2", "x-mock-usage", "1,2"}, `[{"type":"text","text":"lorem ipsum "}]`, "end_turn", llm.Usage{Input: 1, Output: 2}},
		{"result", `"max_tokens":9,"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[` + thinking + `,{"type":"tool_use","id":"t","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"r"},{"type":"text","text":"go"}]}]` + tools, []string{"x-mock-usage", "1,2"}, `[{"type":"text","text":"You said: go"}]`, "end_turn", llm.Usage{Input: 1, Output: 2}},
		{"schema", asked + `,"output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{"a":{"type":"boolean"}}}}}`, []string{"x-mock-usage", "1,2"}, `[{"type":"text","text":"{\"a\":true}"}]`, "end_turn", llm.Usage{Input: 1, Output: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			headers := append(append([]string(nil), version...), tt.headers...)
			status, whole := read(t, url+"/v1/messages", `{"model":"m",`+tt.body+`}`, headers...)
			var got struct {
				Content json.RawMessage
				Finish  string `json:"stop_reason"`
			}
			if err := json.Unmarshal([]byte(whole), &got); err != nil || status != 200 || got.Finish != tt.finish {
				t.Fatalf("got %d %s, %v", status, whole, err)
			}
			var want, content any
			_ = json.Unmarshal([]byte(tt.content), &want)
			_ = json.Unmarshal(got.Content, &content)
			if d := cmp.Diff(want, content); d != "" {
				t.Errorf("content (-want +got):\n%s", d)
			}
			res, err := anthropic.Format{}.DecodeResponse([]byte(whole))
			if err != nil {
				t.Fatal(err)
			}
			tt.usage.Source, tt.usage.Service = llm.UsageProvider, llm.ServiceStandard
			if d := cmp.Diff(tt.usage, res.Usage); d != "" {
				t.Errorf("usage (-want +got):\n%s", d)
			}
			status, events := read(t, url+"/v1/messages", `{"model":"m","stream":true,`+tt.body+`}`, headers...)
			streamed := collected(t, events)
			streamed.ID = res.ID // each answer has its own
			if d := cmp.Diff(res, streamed, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Origin" }, cmp.Ignore())); d != "" || status != 200 {
				t.Errorf("streamed, %d (-whole +stream):\n%s", status, d)
			}
		})
	}
}

// collected makes an answer of a stream.
func collected(t *testing.T, events string) *chat.Response {
	t.Helper()
	var c chat.Collector
	dec, r := anthropic.Format{}.NewDecoder(), llm.NewSSEReader(strings.NewReader(events), 0)
	for {
		e, err := r.Next()
		if err == io.EOF { //nolint:errorlint // as the reader says
			t.Fatalf("no end in\n%s", events)
		}
		chunks, err := dec.Decode(nil, e)
		if err != nil {
			t.Fatal(err)
		}
		for i := range chunks {
			if c.Add(&chunks[i]); chunks[i].Type == chat.ChunkEnd {
				return c.Response()
			}
		}
	}
}

func TestMessages_Wrong(t *testing.T) {
	t.Parallel()
	_, url := start(t, mock.Config{RetryAfter: time.Second, Key: "k"})
	for _, tt := range []struct {
		name, body, header, value string
		status                    int
		typ, message              string
	}{
		{"key", `{}`, "X-Api-Key", "other", 401, "authentication_error", "Incorrect"},
		{"version", `{"model":"m",` + asked + `}`, "Anthropic-Version", "", 400, "invalid_request_error", "anthropic-version"},
		{"maximum", `{"model":"m","messages":[{"role":"user","content":"a"}]}`, "", "", 400, "invalid_request_error", "max_tokens"},
		{"no messages", `{"model":"m","max_tokens":5,"messages":[]}`, "", "", 400, "invalid_request_error", "messages"},
		{"role", `{"model":"m","max_tokens":5,"messages":[{"role":"tool","content":"a"}]}`, "", "", 400, "invalid_request_error", "messages.0"},
		{"budget", `{"model":"m","max_tokens":1024,"thinking":{"type":"enabled","budget_tokens":1024},"messages":[{"role":"user","content":"a"}]}`, "", "", 400, "invalid_request_error", "budget_tokens"},
		{"call without a result", `{"model":"m","max_tokens":5,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{}}]},{"role":"user","content":"a"}]}`, "", "", 400, "invalid_request_error", "without `tool_result`"},
		{"result without a call", `{"model":"m","max_tokens":5,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t"}]}]}`, "", "", 400, "invalid_request_error", "unexpected `tool_use_id`"},
		{"signature", `{"model":"m","max_tokens":5,"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"x","signature":"y"}]}]}`, "", "", 400, "invalid_request_error", "Invalid `signature`"},
		{"overloaded", `{}`, "x-mock-status", "529", 529, "overloaded_error", "on demand"},
		{"internal", `{}`, "x-mock-status", "500", 500, "api_error", "on demand"},
		{"rate", `{}`, "x-mock-status", "429", 429, "rate_limit_error", "on demand"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			headers := append([]string{"X-Api-Key", "k"}, version...)
			if tt.header != "" {
				headers = append(headers, tt.header, tt.value)
			}
			status, data := read(t, url+"/v1/messages", tt.body, headers...)
			var got struct {
				Type  string
				Error struct{ Type, Message string }
				ID    string `json:"request_id"`
			}
			if err := json.Unmarshal([]byte(data), &got); err != nil || status != tt.status || got.Type != "error" || got.Error.Type != tt.typ || !strings.Contains(got.Error.Message, tt.message) || got.ID == "" {
				t.Errorf("got %d %s, %v", status, data, err)
			}
		})
	}
}

func TestMessages_Cut(t *testing.T) {
	t.Parallel()
	s, url := start(t, mock.Config{})
	res, err := post(t, t.Context(), url+"/v1/messages", `{"model":"m","stream":true,`+asked+`}`, append([]string{"x-mock-cut-after", "2"}, version...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	data, err := io.ReadAll(res.Body)
	if err == nil || bytes.Count(data, []byte("text_delta")) != 2 || bytes.Contains(data, []byte("message_stop")) {
		t.Errorf("got %q and %v, want two tokens and an error", data, err)
	}
	if u := s.Usage(); u.Cut != 1 || u.CompletionTokens != 2 {
		t.Errorf("got %+v, want two tokens billed", u)
	}
}

func TestCountTokens(t *testing.T) {
	t.Parallel()
	s, url := start(t, mock.Config{})
	status, data := read(t, url+"/v1/messages/count_tokens", `{"model":"m","messages":[{"role":"user","content":"a b c"}]}`, version...)
	if status != 200 || strings.TrimSpace(data) != `{"input_tokens":9}` {
		t.Errorf("got %d %s", status, data)
	}
	if u := s.Usage(); u.PromptTokens != 0 || u.Cut != 0 || u.Requests != 1 {
		t.Errorf("got %+v, want nothing billed", u)
	}
}
