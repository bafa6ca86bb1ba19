package cohere_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/cohere"
	"github.com/conclave-llm/conclave/provider/providertest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	p, ok := provider.Lookup("cohere_chat")
	if !ok {
		t.Fatal("no row")
	}
	providertest.Run(t, p, "testdata/answers.jsonl", "testdata/errors.jsonl")
}

func TestRequest(t *testing.T) {
	t.Parallel()
	half, five := 0.5, int64(5)
	q := &chat.Request{
		Model: "m", MaxTokens: 9, TopP: &half, TopK: &five, Stop: []string{"a", "b", "c", "d", "e", "f"}, Reasoning: chat.Reasoning{Budget: &five},
		Format: chat.Format{Type: "json_schema", Schema: json.RawMessage(`{"type":"object"}`)},
		Extra:  map[string]json.RawMessage{"documents": json.RawMessage(`[{"data":{"text":"x"}}]`), "odd": json.RawMessage("1")},
		Tools:  []chat.Tool{{Name: "look"}, {Name: "count"}}, ToolChoice: chat.ToolChoice{Mode: "tool", Name: "count"},
		Messages: []chat.Message{
			{Role: chat.RoleDeveloper, Parts: []chat.Part{{Text: "s"}}},
			{Role: chat.RoleUser, Parts: []chat.Part{{Text: "u"}, {Type: chat.PartImage, Media: &chat.Media{Data: "AAAA", Detail: "low"}}}},
			{Role: chat.RoleAssistant, Parts: []chat.Part{{Type: chat.PartReasoning, Text: "hm"}, {Type: chat.PartToolCall, ID: "c", Name: "look"}, {Type: chat.PartToolCall, ID: "d", Name: "look"}}},
			{Role: chat.RoleTool, Parts: []chat.Part{{Type: chat.PartToolResult, ID: "c", Parts: []chat.Part{{Text: "r"}, {Type: chat.PartImage, Media: &chat.Media{URL: "https://h/i"}}}}}},
			{Role: chat.RoleTool, Parts: []chat.Part{{Type: chat.PartToolResult, ID: "d", Parts: []chat.Part{{Text: "r2"}}}, {Type: chat.PartToolResult, ID: "lost", Parts: []chat.Part{{Text: "r3"}}}}},
			{Role: chat.RoleAssistant, Parts: []chat.Part{{Type: chat.PartReasoning, Text: "so"}, {Text: "a"}}},
			{Role: chat.RoleUser, Parts: []chat.Part{{Text: "u"}}},
		},
	}
	target := llm.Target{Model: "m"}
	body, err := cohere.Chat{}.EncodeRequest(q, &target)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"u"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}}]},` +
		`{"role":"assistant","tool_plan":"hm","tool_calls":[{"type":"function","id":"c","function":{"name":"look","arguments":"{}"}},{"type":"function","id":"d","function":{"name":"look","arguments":"{}"}}]},` +
		`{"role":"tool","tool_call_id":"c","content":"r"},{"role":"tool","tool_call_id":"d","content":"r2"},` +
		`{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://h/i"}},{"type":"text","text":"r3"}]},` +
		`{"role":"assistant","content":[{"type":"thinking","thinking":"so"},{"type":"text","text":"a"}]},{"role":"user","content":"u"}],` +
		`"tools":[{"type":"function","function":{"name":"count","parameters":{"type":"object","properties":{}}}}],"tool_choice":"REQUIRED",` +
		`"response_format":{"type":"json_object","json_schema":{"type":"object"}},"thinking":{"type":"enabled","token_budget":5},"p":0.5,"k":5,"max_tokens":9,` +
		`"stop_sequences":["a","b","c","d","e"],"documents":[{"data":{"text":"x"}}],"stream":false}`
	if d := cmp.Diff(want, string(body)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"stop", "odd"}, target.Dropped()); d != "" {
		t.Error(d)
	}
}

func TestCitations(t *testing.T) {
	t.Parallel()
	dec := cohere.Chat{}.NewDecoder()
	var c chat.Collector
	for _, data := range []string{
		`{"type":"message-start","id":"i"}`,
		`{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"a"}}}}`,
		`{"type":"citation-start","index":0,"delta":{"message":{"citations":{"start":0,"end":1,"text":"a","sources":[]}}}}`,
		`{"type":"message-end","delta":{"finish_reason":"COMPLETE"}}`,
	} {
		list, err := dec.Decode(nil, llm.Event{Data: []byte(data)})
		if err != nil {
			t.Fatal(err)
		}
		for i := range list {
			c.Add(&list[i])
		}
	}
	p := c.Response().Choices[0].Parts[0]
	if p.Origin != "cohere_chat" || string(p.Citations) != `[{"start":0,"end":1,"text":"a","sources":[]}]` {
		t.Errorf("got %s of %q", p.Citations, p.Origin)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"id":"i","finish_reason":"COMPLETE","message":{"role":"assistant","content":[{"type":"text","text":"a"}],"tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}}]}}`))
	f.Add([]byte("data: {\"type\":\"tool-call-start\",\"index\":0,\"delta\":{\"message\":{\"tool_calls\":{\"id\":\"c\",\"function\":{\"name\":\"f\"}}}}}\n\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"TOOL_CALL\"}}\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := (cohere.Chat{}).DecodeResponse(b); err == nil && len(r.Choices) != 1 {
			t.Errorf("got %+v", r)
		}
		events, dec := llm.NewSSEReader(bytes.NewReader(b), 0), cohere.Chat{}.NewDecoder()
		for {
			e, err := events.Next()
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
