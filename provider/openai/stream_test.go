package openai_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/openai"
)

// collect decodes events given by their data.
func collect(t *testing.T, f provider.Outbound, data ...string) *chat.Response {
	t.Helper()
	dec := f.NewDecoder()
	var c chat.Collector
	for _, d := range data {
		list, err := dec.Decode(nil, llm.Event{Data: []byte(d)})
		if err != nil {
			t.Fatalf("%s: %v", d, err)
		}
		for i := range list {
			c.Add(&list[i])
		}
	}
	list, err := dec.End(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		c.Add(&list[i])
	}
	return c.Response()
}

// delta is a chunk with one delta.
func delta(d, finish string) string {
	if finish != "null" {
		finish = `"` + finish + `"`
	}
	return `{"id":"i","model":"m","created":1,"choices":[{"index":0,"delta":` + d + `,"finish_reason":` + finish + `}]}`
}

func TestChat_Stream_Vendors(t *testing.T) {
	t.Parallel()
	call := func(id, name, args string) chat.Part {
		return chat.Part{Type: chat.PartToolCall, ID: id, Name: name, Arguments: []byte(args)}
	}
	for _, tt := range []struct {
		name   string
		data   []string
		want   []chat.Part
		finish chat.Finish
	}{
		{
			"vLLM's reasoning",
			[]string{delta(`{"role":"assistant","content":""}`, "null"), delta(`{"reasoning":"hm"}`, "null"), delta(`{"content":"a"}`, "stop")},
			[]chat.Part{{Type: chat.PartReasoning, Text: "hm"}, {Text: "a"}},
			chat.FinishStop,
		},
		{"LiteLLM's blocks beside their text", []string{
			delta(`{"reasoning_content":"h","thinking_blocks":[{"type":"thinking","thinking":"h","signature":null}]}`, "null"),
			delta(`{"reasoning_content":"m","thinking_blocks":[{"type":"thinking","thinking":"m"}]}`, "null"),
			delta(`{"reasoning_content":"","thinking_blocks":[{"type":"thinking","thinking":"","signature":"s"}]}`, "null"), delta(`{"content":"a"}`, "stop"), "[DONE]",
		}, []chat.Part{{Type: chat.PartReasoning, Text: "hm", Signature: "s"}, {Text: "a"}}, chat.FinishStop},
		{"OpenRouter's details", []string{
			delta(`{"reasoning":"hm","reasoning_details":[{"type":"reasoning.text","text":"hm","index":0}]}`, "null"),
			delta(`{"reasoning_details":[{"type":"reasoning.text","signature":"s","index":0}]}`, "null"), delta(`{"reasoning_details":[{"type":"reasoning.encrypted","data":"d"}]}`, "stop"),
		}, []chat.Part{{Type: chat.PartReasoning, Text: "hm", Signature: "s"}, {Type: chat.PartReasoning, Data: "d"}}, chat.FinishStop},
		{
			"Mistral's list of parts",
			[]string{delta(`{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"a"}]}`, "stop")},
			[]chat.Part{{Type: chat.PartReasoning, Text: "hm"}, {Text: "a"}},
			chat.FinishStop,
		},
		{"all calls with one index", []string{
			delta(`{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]}`, "null"),
			delta(`{"tool_calls":[{"index":0,"id":"b","type":"function","function":{"name":"g","arguments":"{\"x\":1}"}}]}`, "stop"),
		}, []chat.Part{call("a", "f", "{}"), call("b", "g", `{"x":1}`)}, chat.FinishTools},
		{"calls without index and id", []string{
			delta(`{"tool_calls":[{"function":{"name":"f","arguments":{"x":1}}},{"function":{"name":"f","arguments":"{}"}}]}`, "tool_calls"),
		}, []chat.Part{call("call_i_0_0", "f", `{"x":1}`), call("call_i_0_1", "f", "{}")}, chat.FinishTools},
		{"an id that is repeated, a name that comes late", []string{
			delta(`{"tool_calls":[{"index":0,"id":"a"}]}`, "null"), delta(`{"tool_calls":[{"index":0,"id":"a","function":{"arguments":"{"}}]}`, "null"),
			delta(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"}"}}]}`, "tool_calls"),
		}, []chat.Part{call("a", "f", "{}")}, chat.FinishTools},
		{
			"function_call",
			[]string{delta(`{"function_call":{"name":"f","arguments":""}}`, "null"), delta(`{"function_call":{"arguments":"{}"}}`, "function_call")},
			[]chat.Part{call("call_i_0_0", "f", "{}")},
			chat.FinishTools,
		},
		{"a custom tool", []string{
			delta(`{"tool_calls":[{"index":0,"id":"a","type":"custom","custom":{"name":"p","input":""}}]}`, "null"),
			delta(`{"tool_calls":[{"index":0,"custom":{"input":"a\n\"b\""}}]}`, "tool_calls"),
		}, []chat.Part{call("a", "p", `{"input":"a\n\"b\""}`)}, chat.FinishTools},
		{
			"Google's signature of a call",
			[]string{delta(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"s"}}}]}`, "tool_calls")},
			[]chat.Part{{Type: chat.PartToolCall, ID: "a", Name: "f", Arguments: []byte("{}"), Signature: "s"}},
			chat.FinishTools,
		},
		{"no finish reason but the mark", []string{delta(`{"content":"a"}`, "null"), "[DONE]"}, []chat.Part{{Text: "a"}}, chat.FinishStop},
		{"Azure's first event", []string{`{"id":"","choices":[],"prompt_filter_results":[]}`, delta(`{"content":"a"}`, "stop")}, []chat.Part{{Text: "a"}}, chat.FinishStop},
		{
			"audio",
			[]string{delta(`{"audio":{"id":"u","transcript":"a"}}`, "null"), delta(`{"audio":{"data":"AAAA"}}`, "stop")},
			[]chat.Part{{Type: chat.PartAudio, ID: "u", Text: "a", Media: &chat.Media{MIME: "audio/*", Data: "AAAA"}}},
			chat.FinishStop,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := collect(t, openai.Chat{}, tt.data...)
			if got.ID != "i" || got.Model != "m" || len(got.Choices) != 1 {
				t.Fatalf("got %+v", got)
			}
			if d := cmp.Diff(tt.want, got.Choices[0].Parts); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if got.Choices[0].Finish != tt.finish {
				t.Errorf("got finish %d, want %d", got.Choices[0].Finish, tt.finish)
			}
		})
	}
}

func TestChat_Stream_Usage(t *testing.T) {
	t.Parallel()
	chunks := []chat.Chunk{
		{Type: chat.ChunkStart, ID: "i", Model: "m", Created: 1},
		{Type: chat.ChunkText, Text: "a"},
		{Type: chat.ChunkFinish, Finish: chat.FinishStop},
		{Type: chat.ChunkUsage, Usage: llm.Usage{Input: 1, Output: 2, Source: llm.UsageProvider}},
		{Type: chat.ChunkEnd},
	}
	const head = `data: {"id":"i","object":"chat.completion.chunk","created":1,"model":"m","choices":[`
	const said = head + `{"index":0,"delta":{"role":"assistant","content":"a"},"finish_reason":null}]}` + "\n\n" +
		head + `{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	for asked, usage := range map[bool]string{false: "", true: head + `],"usage":`} {
		enc := openai.Chat{}.NewEncoder(&chat.Request{Model: "m", IncludeUsage: asked})
		var got []byte
		for i := range chunks {
			got = enc.Encode(got, &chunks[i])
		}
		if s := string(got); !strings.HasPrefix(s, said+usage) || !strings.HasSuffix(s, "data: [DONE]\n\n") || asked != strings.Contains(s, `"usage"`) {
			t.Errorf("asked %v: got\n%s", asked, s)
		}
	}
}

func TestResponses_Request(t *testing.T) {
	t.Parallel()
	in := `{"model":"gpt-5","instructions":"be brief","input":[{"role":"user","content":[{"type":"input_text","text":"see"},{"type":"input_image","image_url":"data:image/png;base64,AAAA"},{"type":"input_file","file_url":"https://h/a.pdf"}]},
		{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"gAAAAx"},
		{"type":"function_call","id":"fc_1","call_id":"c1","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c1","output":"1"},
		{"type":"custom_tool_call","call_id":"c2","name":"patch","input":"a"},{"type":"custom_tool_call_output","call_id":"c2","output":"ok"},
		{"type":"web_search_call","id":"ws_1","status":"completed"}],
		"tools":[{"type":"function","name":"f","parameters":{"type":"object"},"strict":true},{"type":"custom","name":"patch","format":{"type":"grammar","syntax":"lark","definition":"x"}},{"type":"web_search"}],
		"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"f"}]},"text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object"}},"verbosity":"low"},
		"reasoning":{"effort":"low","summary":"auto"},"include":["reasoning.encrypted_content"],"max_output_tokens":9,"truncation":"auto","previous_response_id":"resp_0","store":false,"stream":true}`
	q, err := openai.Responses{}.DecodeRequest([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	if string(q.Extra["previous_response_id"]) != `"resp_0"` {
		t.Errorf("got %s", q.Extra)
	}
	target := llm.Target{Model: "gpt-5"}
	got, err := openai.Responses{}.EncodeRequest(q, &target)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, `{"model":"gpt-5","instructions":"be brief","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"see"},{"type":"input_image","image_url":"data:image/png;base64,AAAA","detail":"auto"},{"type":"input_file","file_url":"https://h/a.pdf"}]},
		{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"gAAAAx"},
		{"type":"function_call","call_id":"c1","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c1","output":"1"},
		{"type":"custom_tool_call","call_id":"c2","name":"patch","input":"a"},{"type":"custom_tool_call_output","call_id":"c2","output":"ok"},
		{"type":"web_search_call","id":"ws_1","status":"completed"}],
		"tools":[{"type":"function","name":"f","parameters":{"type":"object"},"strict":true},{"type":"custom","name":"patch","format":{"type":"grammar","syntax":"lark","definition":"x"}},{"type":"web_search"}],
		"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"f"}]},"text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object"}},"verbosity":"low"},
		"reasoning":{"effort":"low","summary":"auto"},"include":["reasoning.encrypted_content"],"max_output_tokens":9,"truncation":"auto","previous_response_id":"resp_0","store":false,"stream":true}`)
	if len(target.Dropped()) > 0 {
		t.Errorf("dropped %q", target.Dropped())
	}
	target = llm.Target{Model: "m"}
	if got, err = (openai.Chat{}).EncodeRequest(q, &target); err == nil {
		t.Errorf("a document by its address is said: %s", got)
	}
}

func TestResponses_Invalid(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ body, param string }{
		{`{"model":"m"}`, "input"},
		{`{"input":7}`, "input"},
		{`{"input":[7]}`, "input[0]"},
		{`{"input":[{"role":"x","content":"a"}]}`, "input[0].role"},
		{`{"input":[{"type":"item_reference","id":"msg_1"}]}`, "input[0].type"},
		{`{"input":[{"type":"function_call_output","output":"a"}]}`, "input[0].call_id"},
		{`{"input":[{"role":"user","content":[{"type":"input_image"}]}]}`, "input[0].content[0].image"},
	} {
		_, err := openai.Responses{}.DecodeRequest([]byte(tt.body))
		e, ok := errors.AsType[*llm.Error](err)
		if !ok || e.Kind != llm.Invalid || e.Param != tt.param {
			t.Errorf("%s: got %+v, want %q", tt.body, err, tt.param)
		}
	}
}

func TestResponses_Meter(t *testing.T) {
	t.Parallel()
	m := openai.Codec{}.Meter(llm.Responses)
	var size int64
	for i, data := range []string{
		`{"type":"response.created","response":{"id":"r","usage":null}}`,
		`{"type":"response.output_text.delta","delta":"abc"}`,
		`{"type":"response.completed","response":{"usage":{"input_tokens":5,"output_tokens":3,"total_tokens":8,"input_tokens_details":{"cached_tokens":2},"output_tokens_details":{"reasoning_tokens":1}}}}`,
	} {
		r, err := m.Event(llm.Event{Data: []byte(data)})
		if err != nil || r.HasError || r.Done != (i == 2) || r.HasUsage != (i == 2) {
			t.Fatalf("%s: got %+v, %v", data, r, err)
		}
		if size += r.TextBytes; i == 2 && (size != 3 || r.Usage.Input != 3 || r.Usage.CacheRead != 2 || r.Usage.Output != 2 || r.Usage.Reasoning != 1) {
			t.Errorf("got %d bytes, %+v", size, r.Usage)
		}
	}
	if r, err := m.Event(llm.Event{Data: []byte(`{"type":"error","message":"x"}`)}); err != nil || !r.HasError {
		t.Errorf("got %+v, %v", r, err)
	}
	if _, err := m.Event(llm.Event{Data: []byte(`oops`)}); err == nil {
		t.Error("nonsense is no error")
	}
}

func TestCompletions(t *testing.T) {
	t.Parallel()
	for body, param := range map[string]string{
		`{"prompt":[]}`: "prompt", `{"prompt":[1,2]}`: "prompt", `{"prompt":7}`: "prompt",
	} {
		_, err := openai.Completions{}.DecodeRequest([]byte(body))
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Param != param || e.Kind != llm.Invalid {
			t.Errorf("%s: got %v", body, err)
		}
	}
	q, err := openai.Completions{}.DecodeRequest([]byte(`{"prompt":["ab"],"echo":true,"logprobs":1}`))
	if err != nil || !q.LogProbs || q.TopLogProbs != 1 {
		t.Fatalf("got %+v, %v", q, err)
	}
	res, err := openai.Completions{}.DecodeResponse([]byte(`{"id":"i","created":1,"model":"m","choices":[{"index":0,"text":"cd","logprobs":{"tokens":["cd"],"token_logprobs":[-1],"top_logprobs":[{"cd":-1}],"text_offset":[0]},"finish_reason":"length"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := openai.Completions{}.EncodeResponse(q, res)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, `{"id":"i","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":"abcd","logprobs":{"tokens":["cd"],"token_logprobs":[-1],"top_logprobs":[{"cd":-1}],"text_offset":[2]},"finish_reason":"length"}]}`)
	res, err = openai.Completions{}.DecodeResponse([]byte(`{"id":"i","created":1,"model":"m","choices":[{"index":0,"text":"é","logprobs":{"tokens":["é"],"token_logprobs":[-1]},"finish_reason":"stop"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, err = (openai.Chat{}).EncodeResponse(q, res); err != nil || !strings.Contains(string(got), `"logprobs":{"content":[{"token":"é","logprob":-1,"bytes":[195,169],"top_logprobs":[]}],"refusal":null}`) {
		t.Errorf("without alternatives: got %s, %v", got, err)
	}
	body, err := openai.Completions{}.EncodeRequest(&chat.Request{Model: "m", Messages: []chat.Message{
		{Role: chat.RoleSystem, Parts: []chat.Part{{Text: "brief"}}}, {Role: chat.RoleUser, Parts: []chat.Part{{Text: "go"}}},
	}}, &llm.Target{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, body, `{"model":"m","prompt":"System: brief\n\nUser: go\n\nAssistant:","stop":["\n\nUser:"]}`)
}

// formats are the dialects of this package.
var formats = []interface {
	provider.Inbound
	provider.Outbound
}{openai.Chat{}, openai.Completions{}, openai.Responses{}}

func FuzzDecodeRequest(f *testing.F) {
	f.Add([]byte(`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:a;base64,b"}}]},{"role":"assistant","tool_calls":[{"id":"a","custom":{"name":"n","input":"x"}}]}],"tools":[{"type":"custom","custom":{"name":"n"}}]}`))
	f.Add([]byte(`{"prompt":["a"],"echo":true}`))
	f.Add([]byte(`{"input":[{"type":"reasoning","summary":[{"text":"a"}],"encrypted_content":"b"},{"role":"user","content":[{"type":"input_file","file_id":"f"}]}],"text":{"format":{"type":"json_schema"}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, in := range formats {
			q, err := in.DecodeRequest(b)
			if err != nil {
				continue
			}
			for _, out := range formats {
				body, err := out.EncodeRequest(q, &llm.Target{Model: "m"})
				if c := llm.NewCursor(body); err == nil && (c.Raw() == nil || c.End() != nil) {
					t.Fatalf("%T: not JSON: %s", out, body)
				}
			}
		}
	})
}

func FuzzDecodeResponse(f *testing.F) {
	f.Add([]byte(`{"id":"i","choices":[{"message":{"content":"a","tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}}],"annotations":[{"type":"url_citation","url_citation":{}}]},"logprobs":{"content":[]},"finish_reason":"stop"}]}`))
	f.Add([]byte(`{"choices":[{"text":"a","logprobs":{"tokens":["a"]}}]}`))
	f.Add([]byte(`{"status":"incomplete","output":[{"type":"message","content":[{"type":"output_text","text":"a","annotations":[{}]}]},{"type":"image_generation_call","result":"x"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, out := range formats {
			res, err := out.DecodeResponse(b)
			if err != nil {
				continue
			}
			for _, in := range formats {
				body, err := in.EncodeResponse(&chat.Request{Model: "m"}, res)
				if c := llm.NewCursor(body); err != nil || c.Raw() == nil || c.End() != nil {
					t.Fatalf("%T: not JSON: %s, %v", in, body, err)
				}
			}
		}
	})
}

func FuzzDecodeStream(f *testing.F) {
	f.Add([]byte("data: " + delta(`{"content":"a","tool_calls":[{"index":0,"id":"a","function":{"name":"f"}}]}`, "stop") + "\n\ndata: [DONE]\n\n"))
	f.Add([]byte("data: {\"type\":\"response.output_item.added\",\"item\":{\"type\":\"custom_tool_call\",\"call_id\":\"a\",\"name\":\"b\"}}\n\ndata: {\"type\":\"response.completed\",\"response\":{}}\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, out := range formats {
			dec, encoders := out.NewDecoder(), []chat.Encoder{}
			for _, in := range formats {
				encoders = append(encoders, in.NewEncoder(&chat.Request{IncludeUsage: true}))
			}
			events := llm.NewSSEReader(bytes.NewReader(b), 0)
			for {
				e, err := events.Next()
				if err != nil {
					break
				}
				list, err := dec.Decode(nil, e)
				if err != nil {
					break
				}
				for i := range list {
					for _, enc := range encoders {
						written(t, enc.Encode(nil, &list[i]))
					}
				}
			}
			_, _ = dec.End(nil)
		}
	})
}

// written checks that events hold JSON.
func written(t *testing.T, b []byte) {
	events := llm.NewSSEReader(bytes.NewReader(b), 0)
	for {
		e, err := events.Next()
		if err != nil {
			return
		}
		if e.Data == nil || string(e.Data) == "[DONE]" {
			continue
		}
		if c := llm.NewCursor(e.Data); c.Raw() == nil || c.End() != nil || e.Cut {
			t.Fatalf("not JSON: %s", e.Data)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, tt := range map[string]struct {
		f    provider.Outbound
		data string
	}{
		"chat":      {openai.Chat{}, delta(`{"content":" and so on"}`, "null")},
		"responses": {openai.Responses{}, `{"type":"response.output_text.delta","sequence_number":7,"item_id":"msg_1","output_index":0,"content_index":0,"delta":" and so on","logprobs":[]}`},
	} {
		b.Run(name, func(b *testing.B) {
			dec, list := tt.f.NewDecoder(), []chat.Chunk(nil)
			e := llm.Event{Data: []byte(tt.data)}
			b.ReportAllocs()
			for b.Loop() {
				list, _ = dec.Decode(list[:0], e)
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for name, f := range map[string]provider.Inbound{"chat": openai.Chat{}, "completions": openai.Completions{}, "responses": openai.Responses{}} {
		b.Run(name, func(b *testing.B) {
			enc := f.NewEncoder(&chat.Request{Model: "m"})
			dst := enc.Encode(nil, &chat.Chunk{Type: chat.ChunkStart, ID: "i", Model: "m", Created: 1})
			c := chat.Chunk{Type: chat.ChunkText, Text: " and so on"}
			b.ReportAllocs()
			for b.Loop() {
				dst = enc.Encode(dst[:0], &c)
			}
		})
	}
}
