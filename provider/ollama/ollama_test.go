package ollama_test

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/ollama"
	"github.com/conclave-llm/conclave/provider/providertest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	p, ok := provider.Lookup("ollama_chat")
	if !ok {
		t.Fatal("no row")
	}
	providertest.Run(t, p, "testdata/answers.jsonl", "testdata/errors.jsonl")
}

func TestRequest(t *testing.T) {
	t.Parallel()
	half, five := 0.5, int64(5)
	q := &chat.Request{
		Model: "m", Stream: true, MaxTokens: 9, Temperature: &half, TopK: &five, Stop: []string{"x"}, N: 2, User: "u",
		Reasoning: chat.Reasoning{Effort: "high"}, Format: chat.Format{Type: "json_schema", Schema: json.RawMessage(`{"type":"object"}`)},
		Extra: map[string]json.RawMessage{"num_ctx": json.RawMessage("4096"), "keep_alive": json.RawMessage(`"5m"`), "odd": json.RawMessage("1"), "options": json.RawMessage(`{"num_gpu":1}`)},
		Tools: []chat.Tool{{Name: "look"}, {Kind: "web_search"}},
		Messages: []chat.Message{
			{Role: chat.RoleDeveloper, Parts: []chat.Part{{Text: "s"}}},
			{Role: chat.RoleUser, Parts: []chat.Part{{Text: "u"}, {Type: chat.PartImage, Media: &chat.Media{Data: "AAAA"}}}},
			{Role: chat.RoleAssistant, Parts: []chat.Part{{Type: chat.PartReasoning, Text: "hm"}, {Type: chat.PartToolCall, ID: "c", Name: "look", Arguments: json.RawMessage(`{broken`)}}},
			{Role: chat.RoleTool, Parts: []chat.Part{{Type: chat.PartToolResult, ID: "c", Parts: []chat.Part{{Text: "r"}}, IsError: true}}},
		},
	}
	target := llm.Target{Model: "m"}
	body, err := ollama.Chat{}.EncodeRequest(q, &target)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":"u","images":["AAAA"]},` +
		`{"role":"assistant","content":"","thinking":"hm","tool_calls":[{"id":"c","function":{"index":0,"name":"look","arguments":{"arguments":"{broken"}}}]},` +
		`{"role":"tool","content":"r","tool_name":"look","tool_call_id":"c"}],"tools":[{"type":"function","function":{"name":"look","parameters":{"type":"object","properties":{}}}}],` +
		`"format":{"type":"object"},"think":true,"options":{"temperature":0.5,"top_k":5,"num_predict":9,"stop":["x"],"num_ctx":4096,"num_gpu":1},"keep_alive":"5m","stream":true}`
	if d := cmp.Diff(want, string(body)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"is_error", "tools.web_search", "odd", "n", "user"}, target.Dropped()); d != "" {
		t.Error(d)
	}
}

func TestFrames(t *testing.T) {
	t.Parallel()
	r := ollama.Codec{}.Frames(llm.OllamaChat, strings.NewReader("\n{\"a\":1}\r\n\n"+strings.Repeat("x", 9000)+"\n{"), 10000)
	var got []int
	for {
		e, err := r.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			break
		}
		got = append(got, len(e.Data))
		if e.Cut != (len(e.Data) == 1) {
			t.Errorf("%q: cut %v", e.Data, e.Cut)
		}
	}
	if d := cmp.Diff([]int{7, 9000, 1}, got); d != "" {
		t.Error(d)
	}
	r = ollama.Codec{}.Frames(llm.OllamaChat, strings.NewReader(strings.Repeat("x", 20000)), 10000)
	if _, err := r.Next(); !errors.Is(err, llm.ErrEventTooLarge) {
		t.Errorf("got %v, want %v", err, llm.ErrEventTooLarge)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"model":"m","created_at":"2025-01-01T00:00:00Z","message":{"role":"assistant","content":"a","thinking":"b","tool_calls":[{"function":{"name":"f","arguments":{}}}]},"done":true,"done_reason":"stop","eval_count":1}`))
	f.Add([]byte(`{"error":"x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := (ollama.Chat{}).DecodeResponse(b); err == nil && len(r.Choices) != 1 {
			t.Errorf("got %+v", r)
		}
		frames, dec := ollama.Codec{}.Frames(llm.OllamaChat, strings.NewReader(string(b)), 0), ollama.Chat{}.NewDecoder()
		for {
			e, err := frames.Next()
			if err != nil {
				break
			}
			if _, err := dec.Decode(nil, e); err != nil {
				return
			}
		}
		_, _ = dec.End(nil)
	})
}
