package anthropic_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/anthropic"
)

// wholeAnswer and stream say the same.
const wholeAnswer = `{"id":"msg_1","type":"message","role":"assistant","model":"claude-opus-4-6","content":[` +
	`{"type":"thinking","thinking":"Let me \"see\"é","signature":"sig+/="},{"type":"redacted_thinking","data":"EmwK"},` +
	`{"type":"text","text":"Hello ☃","citations":[{"type":"char_location","cited_text":"x"},{"type":"char_location","cited_text":"y"}]},` +
	`{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{"query":"q"}},{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[]},` +
	`{"type":"tool_use","id":"toolu_1","name":"f","input":{"a":[1,"}"]}},{"type":"tool_use","id":"toolu_2","name":"g","input":{}}],` +
	`"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":25,"cache_creation_input_tokens":9,"cache_read_input_tokens":7,"cache_creation":{"ephemeral_5m_input_tokens":5,"ephemeral_1h_input_tokens":4},"output_tokens":15,"service_tier":"standard"}}`

var stream = events(
	`{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-opus-4-6","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":25,"cache_creation_input_tokens":9,"cache_read_input_tokens":7,"cache_creation":{"ephemeral_5m_input_tokens":5,"ephemeral_1h_input_tokens":4},"output_tokens":1,"service_tier":"standard"}}}`,
	`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`,
	`{"type":"ping"}`,
	`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Let me "}}`,
	`{"type":"content_block_delta","index":0,"delta":{"thinking":"\"see\"\u00e9","type":"thinking_delta"}}`,
	`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"sig+/="}}`,
	`{"type":"content_block_stop","index":0}`,
	`{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"EmwK"}}`,
	`{"type":"content_block_stop","index":1}`,
	`{"type":"content_block_start","index":2,"content_block":{"type":"text","text":"","citations":[]}}`,
	`{"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"Hello"}}`,
	`{"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":" \u2603"}}`,
	`{"type":"content_block_delta","index":2,"delta":{"type":"citations_delta","citation":{"type":"char_location","cited_text":"x"}}}`,
	`{"type":"content_block_delta","index":2,"delta":{"type":"citations_delta","citation":{"type":"char_location","cited_text":"y"}}}`,
	`{"type":"content_block_stop","index":2}`,
	`{"type":"content_block_start","index":3,"content_block":{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{}}}`,
	`{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"query\""}}`,
	`{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":":\"q\"}"}}`,
	`{"type":"content_block_stop","index":3}`,
	`{"type":"content_block_start","index":4,"content_block":{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[]}}`,
	`{"type":"content_block_stop","index":4}`,
	`{"type":"content_block_start","index":5,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}`,
	`{"type":"content_block_delta","index":5,"delta":{"type":"input_json_delta","partial_json":""}}`,
	`{"type":"content_block_delta","index":5,"delta":{"type":"input_json_delta","partial_json":"{\"a\":[1"}}`,
	`{"type":"content_block_delta","index":5,"delta":{"type":"input_json_delta","partial_json":",\"}\"]}"}}`,
	`{"type":"content_block_stop","index":5}`,
	`{"index":6,"content_block":{"type":"tool_use","id":"toolu_2","name":"g","input":{}},"type":"content_block_start"}`,
	`{"type":"content_block_stop","index":6}`,
	`{"type":"something_new","x":1}`,
	`{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":15}}`,
	`{"type":"message_stop"}`,
)

// events makes a stream of events.
func events(data ...string) string {
	var b []byte
	for _, d := range data {
		var v struct{ Type string }
		_ = json.Unmarshal([]byte(d), &v)
		b = llm.AppendEvent(b, v.Type, []byte(d))
	}
	return string(b)
}

// decode reads a stream.
func decode(src io.Reader) (chunks []chat.Chunk, err error) {
	dec := anthropic.Format{}.NewDecoder()
	r := llm.NewSSEReader(src, 0)
	for {
		e, err := r.Next()
		if err == io.EOF { //nolint:errorlint // as the reader says
			return dec.End(chunks)
		}
		if chunks, err = dec.Decode(chunks, e); err != nil {
			return chunks, err
		}
	}
}

// collect makes an answer of chunks, and checks that they end.
func collect(t testing.TB, chunks []chat.Chunk) *chat.Response {
	t.Helper()
	if n := len(chunks); n == 0 || chunks[n-1].Type != chat.ChunkEnd {
		t.Fatalf("no end in %+v", chunks)
	}
	var c chat.Collector
	for i := range chunks {
		c.Add(&chunks[i])
	}
	return c.Response()
}

// same compares answers: who wrote a piece of reasoning is not told in streams.
var same = cmp.Options{
	cmpopts.EquateEmpty(),
	cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "Choices.Parts.Origin" }, cmp.Comparer(func(a, b string) bool { return a == b || a == "" || b == "" })),
}

func TestDecoder(t *testing.T) {
	t.Parallel()
	want, err := anthropic.Format{}.DecodeResponse([]byte(wholeAnswer))
	if err != nil {
		t.Fatal(err)
	}
	if u := want.Usage; u.CacheWrite1h != 4 || u.Input != 25 || u.Output != 15 || want.Tier != "default" || want.Choices[0].Finish != chat.FinishTools {
		t.Errorf("got %+v", want)
	}
	for _, crlf := range []bool{false, true} {
		src := stream
		if crlf {
			src = strings.ReplaceAll(src, "\n", "\r\n")
		}
		for size := 1; size <= len(src); size += 1 + size/3 {
			chunks, err := decode(&pieces{src, size})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, collect(t, chunks), same); d != "" {
				t.Fatalf("pieces of %d bytes (-whole +stream):\n%s", size, d)
			}
		}
	}
}

// pieces is a reader that gives so many bytes at a time.
type pieces struct {
	rest string
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.rest == "" {
		return 0, io.EOF
	}
	n := copy(b, p.rest[:min(p.size, len(p.rest))])
	p.rest = p.rest[n:]
	return n, nil
}

// TestDecoder_Cut: a stream that ends before its end is an error, wherever that is.
func TestDecoder_Cut(t *testing.T) {
	t.Parallel()
	whole := strings.Index(stream, `event: message_stop`)
	finished := strings.Index(stream[:whole], `"stop_reason":"tool_use"`)
	for n := range whole {
		if n > finished {
			break // it has said why it ends
		}
		_, err := decode(iotest.OneByteReader(strings.NewReader(stream[:n])))
		e, ok := errors.AsType[*llm.Error](err)
		if !ok || e.Kind != llm.Upstream || e.Code != "upstream_cut" {
			t.Fatalf("cut at %d, after %q: got %v", n, stream[max(0, n-40):n], err)
		}
	}
	chunks, err := decode(strings.NewReader(stream[:whole]))
	if err != nil || chunks[len(chunks)-1].Type != chat.ChunkEnd {
		t.Errorf("got %v for a stream that has said why it ends", err)
	}
}

func TestDecoder_Wrong(t *testing.T) {
	t.Parallel()
	const start = `{"type":"message_start","message":{"id":"m"}}`
	for _, tt := range []struct {
		name string
		in   []string
		kind llm.Kind
		code string
	}{
		{"not JSON", []string{start, `{`}, llm.Upstream, "invalid_response"},
		{"no object", []string{start, `[1]`}, llm.Upstream, "invalid_response"},
		{"null", []string{start, `null`}, llm.Upstream, "invalid_response"},
		{"a block that has not begun", []string{start, `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}`}, llm.Upstream, "invalid_response"},
		{"a block of nothing", []string{start, `{"type":"content_block_start","index":0,"content_block":null}`}, llm.Upstream, "invalid_response"},
		{"a block of another kind", []string{start, `{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":5}}`}, llm.Upstream, "invalid_response"},
		{"overloaded", []string{start, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`}, llm.Unavailable, ""},
		{"rate", []string{start, `{"error":{"type":"rate_limit_error","message":"slow"}}`}, llm.RateLimited, ""},
		{"nothing", nil, llm.Upstream, "upstream_cut"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := decode(strings.NewReader(events(tt.in...)))
			e, ok := errors.AsType[*llm.Error](err)
			if !ok || e.Kind != tt.kind || e.Code != tt.code {
				t.Errorf("got %+v", err)
			}
		})
	}
	for _, body := range []string{``, `null`, `{}`, `[]`, `{"content":null}`, `{"content":[5]}`, `{"content":[{"type":"text","text":{}}]}`, `{"content":[]`, `{"id":5,"content":[]}`} {
		if res, err := (anthropic.Format{}).DecodeResponse([]byte(body)); err == nil {
			t.Errorf("%s: got %+v", body, res)
		}
	}
	_, err := anthropic.Format{}.DecodeResponse([]byte(`{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`))
	if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Unavailable || e.Message != "Overloaded" {
		t.Errorf("got %v", err)
	}
}

// message is what an official client makes of a stream.
type message struct {
	ID, Model  string
	StopReason string `json:"stop_reason"`
	Content    []map[string]any
	Usage      map[string]any
}

// accumulate does what the official clients do, and checks that blocks follow one another.
func accumulate(t testing.TB, src []byte) message {
	t.Helper()
	var m message
	var inputs []string
	open, ended := -1, false
	r := llm.NewSSEReader(bytes.NewReader(src), 0)
	for {
		e, err := r.Next()
		if err == io.EOF { //nolint:errorlint // as the reader says
			break
		}
		var v struct {
			Type         string
			Index        int
			Message      message
			ContentBlock map[string]any `json:"content_block"`
			Delta        map[string]any
			Usage        map[string]any
		}
		if err := json.Unmarshal(e.Data, &v); err != nil || string(e.Type) != v.Type {
			t.Fatalf("%v in %s", err, e.Raw)
		}
		switch v.Type {
		case "message_start":
			m = v.Message
		case "content_block_start":
			if open != -1 || v.Index != len(m.Content) {
				t.Fatalf("block %d begins, %d is open:\n%s", v.Index, open, src)
			}
			open = v.Index
			m.Content, inputs = append(m.Content, v.ContentBlock), append(inputs, "")
		case "content_block_delta":
			if open != v.Index {
				t.Fatalf("block %d goes on, %d is open", v.Index, open)
			}
			b := m.Content[v.Index]
			for name, value := range v.Delta {
				switch name {
				case "text", "thinking":
					b[name] = b[name].(string) + value.(string)
				case "signature":
					b[name] = value
				case "partial_json":
					inputs[v.Index] += value.(string)
				case "citation":
					list, _ := b["citations"].([]any)
					b["citations"] = append(list, value)
				}
			}
		case "content_block_stop":
			if open != v.Index {
				t.Fatalf("block %d ends, %d is open", v.Index, open)
			}
			open = -1
			if inputs[v.Index] != "" {
				m.Content[v.Index]["input"] = parse(t, inputs[v.Index])
			}
		case "message_delta":
			m.StopReason, _ = v.Delta["stop_reason"].(string)
			m.Usage = v.Usage
		case "message_stop":
			ended = true
		}
	}
	if !ended || open != -1 {
		t.Fatalf("no end in\n%s", src)
	}
	return m
}

// encode writes a stream.
func encode(chunks []chat.Chunk) (out []byte) {
	enc := anthropic.Format{}.NewEncoder(&chat.Request{Model: "asked"})
	for i := range chunks {
		out = enc.Encode(out, &chunks[i])
	}
	return out
}

// TestEncoder: a stream that is read and written says what it said, and what the whole answer
// says.
func TestEncoder(t *testing.T) {
	t.Parallel()
	chunks, err := decode(strings.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	got := accumulate(t, encode(chunks))
	var want message
	if err := json.Unmarshal([]byte(wholeAnswer), &want); err != nil {
		t.Fatal(err)
	}
	delete(want.Usage, "service_tier")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("message (-want +got):\n%s", d)
	}
	again, err := decode(bytes.NewReader(encode(chunks)))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(collect(t, chunks), collect(t, again), same); d != "" {
		t.Errorf("read again (-want +got):\n%s", d)
	}
	res, err := anthropic.Format{}.DecodeResponse([]byte(wholeAnswer))
	if err != nil {
		t.Fatal(err)
	}
	out, err := anthropic.Format{}.EncodeResponse(&chat.Request{}, res)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(parse(t, wholeAnswer), parse(t, string(out))); d != "" {
		t.Errorf("answer (-want +got):\n%s", d)
	}
	if d := cmp.Diff(want, accumulate(t, encode(chat.Chunks(nil, res)))); d != "" {
		t.Errorf("a whole answer as a stream (-want +got):\n%s", d)
	}
}

// TestEncoder_Interleaved: calls whose pieces come in any order come out one after the other.
func TestEncoder_Interleaved(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		n := 1 + rnd.IntN(8)
		left, want, chunks := make([]string, n), []any{}, []chat.Chunk{{Type: chat.ChunkStart, ID: "chatcmpl-1", Model: "m"}}
		for i := range n {
			left[i] = fmt.Sprintf(`{"n":%d,"s":"a } \" { é","o":{"x":[%d]}}`, i, seed)
			if rnd.IntN(6) == 0 {
				left[i] = ""
			}
			input := parse(t, cmpOr(left[i], "{}"))
			want = append(want, map[string]any{"type": "tool_use", "id": fmt.Sprint("call_", i), "name": "f", "input": input})
		}
		begun := 0
		for begun < n || slices.ContainsFunc(left, func(s string) bool { return s != "" }) {
			i := rnd.IntN(n)
			switch {
			case i >= begun:
				chunks = append(chunks, chat.Chunk{Type: chat.ChunkToolStart, Index: begun, ID: fmt.Sprint("call_", begun), Name: "f"})
				begun++
			case left[i] != "":
				size := 1 + rnd.IntN(len(left[i]))
				for size < len(left[i]) && left[i][size]&0xC0 == 0x80 {
					size++
				}
				chunks = append(chunks, chat.Chunk{Type: chat.ChunkToolArgs, Index: i, Text: left[i][:size]})
				left[i] = left[i][size:]
			}
		}
		chunks = append(chunks, chat.Chunk{Type: chat.ChunkFinish, Finish: chat.FinishTools}, chat.Chunk{Type: chat.ChunkEnd})
		got := accumulate(t, encode(chunks))
		list := make([]any, len(got.Content))
		for i, b := range got.Content {
			list[i] = b
		}
		if d := cmp.Diff(want, list); d != "" || got.StopReason != "tool_use" {
			t.Fatalf("seed %d (-want +got):\n%s", seed, d)
		}
		again, err := decode(bytes.NewReader(encode(chunks)))
		if err != nil || len(collect(t, again).Choices[0].Parts) != n {
			t.Fatalf("seed %d: got %v and %+v", seed, err, again)
		}
	}
}

func cmpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// TestEncoder_Chunks has what no stream of Anthropic's holds.
func TestEncoder_Chunks(t *testing.T) {
	t.Parallel()
	usage := llm.Usage{Input: 3, ImageInput: 2, CacheRead: 4, Output: 5, Reasoning: 6, Source: llm.UsageProvider}
	end := []chat.Chunk{{Type: chat.ChunkFinish, Finish: chat.FinishStop}, {Type: chat.ChunkUsage, Usage: usage}, {Type: chat.ChunkEnd}}
	for _, tt := range []struct {
		name       string
		in         []chat.Chunk
		want, stop string
	}{
		{"nothing", nil, `[]`, "end_turn"},
		{"an empty text", []chat.Chunk{{Type: chat.ChunkText}}, `[]`, "end_turn"},
		{"another choice", []chat.Chunk{{Type: chat.ChunkText, Text: "a"}, {Type: chat.ChunkText, Choice: 1, Text: "b"}}, `[{"type":"text","text":"a"}]`, "end_turn"},
		{"unsigned thoughts", []chat.Chunk{{Type: chat.ChunkReasoning, Text: "t"}, {Type: chat.ChunkText, Text: "a"}, {Type: chat.ChunkReasoning, Text: "u"}}, `[{"type":"thinking","thinking":"t","signature":""},{"type":"text","text":"a"},{"type":"thinking","thinking":"u","signature":""}]`, "end_turn"},
		{"a signed call without an id", []chat.Chunk{{Type: chat.ChunkToolStart, Name: "f"}, {Type: chat.ChunkSignature, Text: "no id, no call"}, {Type: chat.ChunkToolArgs, Text: "{}"}}, `[{"type":"tool_use","id":"toolu_1_1","name":"f","input":{}},{"type":"thinking","thinking":"","signature":"no id, no call"}]`, "tool_use"},
		{"a signed call", []chat.Chunk{{Type: chat.ChunkToolStart, ID: "c", Name: "f"}, {Type: chat.ChunkSignature, ID: "c", Text: "s1+"}, {Type: chat.ChunkToolArgs, Text: "{}"}}, `[{"type":"tool_use","id":"c__sig__czEr","name":"f","input":{}}]`, "tool_use"},
		{"blocks of others", []chat.Chunk{{Type: chat.ChunkOther, Origin: "responses", Raw: json.RawMessage(`{}`)}, {Type: chat.ChunkText, Text: "a"}, {Type: chat.ChunkCitations, Origin: "chat", Raw: json.RawMessage(`[{}]`)}, {Type: chat.ChunkMedia, Media: &chat.Media{MIME: "audio/wav"}, Text: "b"}}, `[{"type":"text","text":"ab"}]`, "end_turn"},
		{"refusal", []chat.Chunk{{Type: chat.ChunkRefusal, Text: "no"}, {Type: chat.ChunkFinish, Finish: chat.FinishRefusal}}, `[{"type":"text","text":"no"}]`, "end_turn"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			chunks := append([]chat.Chunk{{Type: chat.ChunkStart, ID: "msg_1"}, {Type: chat.ChunkPing}}, append(tt.in, end...)...)
			got := accumulate(t, encode(chunks))
			if d := cmp.Diff(parse(t, tt.want), parse(t, cmpOr(strings.Replace(mustJSON(t, got.Content), "null", "[]", 1), "[]"))); d != "" {
				t.Errorf("content (-want +got):\n%s", d)
			}
			wantUsage := parse(t, `{"input_tokens":5,"cache_creation_input_tokens":0,"cache_read_input_tokens":4,"output_tokens":11,"output_tokens_details":{"thinking_tokens":6}}`)
			if d := cmp.Diff(wantUsage, any(got.Usage)); d != "" || got.StopReason != tt.stop || got.Model != "asked" || got.ID != "msg_1" {
				t.Errorf("got %+v\n%s", got, d)
			}
		})
	}
}

func TestEncodeResponse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name           string
		choice         chat.Choice
		content, stops string
	}{
		{"nothing", chat.Choice{}, `[]`, `"end_turn",null`},
		{"stop sequence", chat.Choice{Finish: chat.FinishStop, StopText: "END", Parts: []chat.Part{text("a")}}, `[{"type":"text","text":"a"}]`, `"stop_sequence","END"`},
		{"length", chat.Choice{Finish: chat.FinishLength}, `[]`, `"max_tokens",null`},
		{"a filter", chat.Choice{Finish: chat.FinishFilter}, `[]`, `"refusal",null`},
		{"pause", chat.Choice{Finish: chat.FinishPause}, `[]`, `"pause_turn",null`},
		{"full", chat.Choice{Finish: chat.FinishOverflow}, `[]`, `"model_context_window_exceeded",null`},
		{"a call that ends with stop", chat.Choice{Finish: chat.FinishStop, Parts: []chat.Part{call("", "f", ""), call("a.b", "g", `[1]`)}}, `[{"type":"tool_use","id":"toolu_x_1","name":"f","input":{}},{"type":"tool_use","id":"a_b","name":"g","input":{"arguments":"[1]"}}]`, `"tool_use",null`},
		{"what Anthropic has no block for", chat.Choice{Parts: []chat.Part{{Type: chat.PartImage, Media: &chat.Media{}}, {Type: chat.PartAudio, Text: "spoken"}, {Type: chat.PartOther, Origin: "converse"}, {Type: chat.PartRefusal, Text: "no"}, text("")}}, `[{"type":"text","text":"spoken"},{"type":"text","text":"no"}]`, `"end_turn",null`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			out, err := anthropic.Format{}.EncodeResponse(&chat.Request{Model: "asked"}, &chat.Response{ID: "x", Choices: []chat.Choice{tt.choice}})
			if err != nil {
				t.Fatal(err)
			}
			reason, text, _ := strings.Cut(tt.stops, ",")
			want := `{"id":"x","type":"message","role":"assistant","model":"asked","content":` + tt.content + `,"stop_reason":` + reason + `,"stop_sequence":` + text + `,"usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}`
			if d := cmp.Diff(want, string(out)); d != "" {
				t.Errorf("answer (-want +got):\n%s", d)
			}
		})
	}
	a, _ := anthropic.Format{}.EncodeResponse(&chat.Request{}, &chat.Response{})
	b, _ := anthropic.Format{}.EncodeResponse(&chat.Request{}, &chat.Response{})
	if bytes.Equal(a, b) {
		t.Errorf("two answers without ids have the same: %s", a)
	}
}

func FuzzStream(f *testing.F) {
	f.Add([]byte(stream))
	f.Add([]byte(events(`{"type":"content_block_start","index":0,"content_block":{"type":"compaction","content":null}}`, `{"type":"content_block_delta","index":0,"delta":{"type":"compaction_delta","content":"s"}}`, `{"type":"content_block_stop","index":0}`)))
	f.Fuzz(func(t *testing.T, src []byte) {
		chunks, err := decode(bytes.NewReader(src))
		if err != nil {
			if _, ok := errors.AsType[*llm.Error](err); !ok {
				t.Fatalf("got %v", err)
			}
			return
		}
		if n := len(chunks); n == 0 || chunks[n-1].Type != chat.ChunkEnd {
			t.Fatalf("a clean end without an end: %+v", chunks)
		}
		r := llm.NewSSEReader(bytes.NewReader(encode(chunks)), 0)
		for {
			e, err := r.Next()
			if err != nil {
				return
			}
			if !json.Valid(e.Data) {
				t.Fatalf("got %q", e.Data)
			}
		}
	})
}

func FuzzDecodeResponse(f *testing.F) {
	f.Add([]byte(wholeAnswer))
	f.Add([]byte(`{"type":"error","error":{"type":"api_error","message":"m"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		res, err := anthropic.Format{}.DecodeResponse(body)
		if err != nil {
			if _, ok := errors.AsType[*llm.Error](err); !ok {
				t.Fatalf("got %v", err)
			}
			return
		}
		if out, err := (anthropic.Format{}).EncodeResponse(&chat.Request{}, res); err != nil || !json.Valid(out) {
			t.Fatalf("got %s, %v", out, err)
		}
	})
}

func BenchmarkDecoder(b *testing.B) {
	dec := anthropic.Format{}.NewDecoder()
	begin := `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`
	chunks, err := dec.Decode(nil, llm.Event{Data: []byte(begin)})
	if err != nil {
		b.Fatal(err)
	}
	e := llm.Event{Data: []byte(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"some words"}}`)}
	b.ReportAllocs()
	for b.Loop() {
		if chunks, err = dec.Decode(chunks[:0], e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncoder(b *testing.B) {
	enc := anthropic.Format{}.NewEncoder(&chat.Request{})
	c := chat.Chunk{Type: chat.ChunkText, Text: "some words"}
	out := make([]byte, 0, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		out = enc.Encode(out[:0], &c)
	}
}

func BenchmarkMeter(b *testing.B) {
	m := anthropic.Codec{}.Meter(llm.Messages)
	e := llm.Event{Data: []byte(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"some words"}}`)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Event(e); err != nil {
			b.Fatal(err)
		}
	}
}
