package bedrock_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/bedrock"
)

// event is an event of a stream of Converse.
func event(typ, data string) llm.Event { return llm.Event{Type: []byte(typ), Data: []byte(data)} }

// answered is a stream with everything that Bedrock answers.
var answered = []llm.Event{
	event("messageStart", `{"p":"ab","role":"assistant"}`),
	event("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"hm"}},"p":"abc"}`),
	event("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"c2ln"}}}`),
	event("contentBlockStop", `{"contentBlockIndex":0}`),
	event("contentBlockDelta", `{"contentBlockIndex":1,"delta":{"reasoningContent":{"redactedContent":"ZGF0YQ=="}}}`),
	event("contentBlockStop", `{"contentBlockIndex":1}`),
	event("contentBlockDelta", `{"delta":{"text":"a \"b\" é"},"contentBlockIndex":2}`),
	event("contentBlockDelta", `{"delta":{"citation":{"title":"t","location":{"web":{"url":"u"}}}},"contentBlockIndex":2}`),
	event("contentBlockStop", `{"contentBlockIndex":2}`),
	event("contentBlockStart", `{"contentBlockIndex":3,"start":{"toolUse":{"name":"f","toolUseId":"tooluse_1"}}}`),
	event("contentBlockStart", `{"contentBlockIndex":4,"start":{"toolUse":{"name":"g","toolUseId":"tooluse_2"}}}`),
	event("contentBlockDelta", `{"contentBlockIndex":4,"delta":{"toolUse":{"input":"{\"y\""}}}`),
	event("contentBlockDelta", `{"contentBlockIndex":3,"delta":{"toolUse":{"input":"{\"x\":"}}}`),
	event("contentBlockDelta", `{"contentBlockIndex":4,"delta":{"toolUse":{"input":":2}"}}}`),
	event("contentBlockDelta", `{"contentBlockIndex":3,"delta":{"toolUse":{"input":"1}"}}}`),
	event("contentBlockStop", `{"contentBlockIndex":3}`),
	event("contentBlockStop", `{"contentBlockIndex":4}`),
	event("novelty", `{"contentBlockIndex":3}`),
	event("messageStop", `{"stopReason":"tool_use","additionalModelResponseFields":{"stop_sequence":"E"}}`),
	event("metadata", `{"usage":{"inputTokens":3,"outputTokens":4,"totalTokens":9,"cacheReadInputTokens":2},"metrics":{"latencyMs":7},"serviceTier":{"type":"flex"}}`),
}

// decode reads the events of a stream, as if all had the same buffer.
func decode(t *testing.T, events []llm.Event) []chat.Chunk {
	t.Helper()
	d := bedrock.Format{}.NewDecoder()
	var list []chat.Chunk
	var buf []byte
	for _, e := range events {
		buf = append(buf[:0], e.Data...)
		var err error
		if list, err = d.Decode(list, llm.Event{Type: e.Type, Data: buf}); err != nil {
			t.Fatalf("%s: %v", e.Data, err)
		}
		for i := range buf {
			buf[i] = 'x'
		}
	}
	return list
}

func TestDecoder(t *testing.T) {
	t.Parallel()
	want := []chat.Chunk{
		{Type: chat.ChunkStart},
		{Type: chat.ChunkReasoning, Text: "hm"},
		{Type: chat.ChunkSignature, Text: "c2ln"},
		{Type: chat.ChunkRedacted, Text: "ZGF0YQ=="},
		{Type: chat.ChunkText, Text: `a "b" é`},
		{Type: chat.ChunkCitations, Origin: "converse", Raw: []byte(`[{"title":"t","location":{"web":{"url":"u"}}}]`)},
		{Type: chat.ChunkToolStart, ID: "tooluse_1", Name: "f"},
		{Type: chat.ChunkToolStart, Index: 1, ID: "tooluse_2", Name: "g"},
		{Type: chat.ChunkToolArgs, Index: 1, Text: `{"y"`},
		{Type: chat.ChunkToolArgs, Text: `{"x":`},
		{Type: chat.ChunkToolArgs, Index: 1, Text: `:2}`},
		{Type: chat.ChunkToolArgs, Text: `1}`},
		{Type: chat.ChunkFinish, Finish: chat.FinishTools, StopText: "E"},
		{Type: chat.ChunkUsage, Tier: "flex", Usage: llm.Usage{Input: 3, CacheRead: 2, Output: 4, Service: llm.ServiceFlex, Source: llm.UsageProvider}},
		{Type: chat.ChunkEnd},
	}
	if d := cmp.Diff(want, decode(t, answered)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// encode writes a stream and returns its events, one a line.
func encode(t *testing.T, chunks []chat.Chunk) string {
	t.Helper()
	enc := bedrock.Format{}.NewEncoder(&chat.Request{})
	var out []byte
	for i := range chunks {
		out = enc.Encode(out, &chunks[i])
	}
	var b strings.Builder
	r := bedrock.NewReader(bytes.NewReader(out), 0)
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		data, _, _ := bytes.Cut(e.Data, []byte(`,"metrics"`)) // how long it took differs
		b.WriteString(string(e.Type) + " " + string(data) + "\n")
	}
}

// TestEncoder writes parallel calls, whose arguments come in turns, one behind the other.
func TestEncoder(t *testing.T) {
	t.Parallel()
	want := `messageStart {"role":"assistant"}
contentBlockDelta {"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"hm"}}}
contentBlockDelta {"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"c2ln"}}}
contentBlockStop {"contentBlockIndex":0}
contentBlockDelta {"contentBlockIndex":1,"delta":{"reasoningContent":{"redactedContent":"ZGF0YQ=="}}}
contentBlockStop {"contentBlockIndex":1}
contentBlockDelta {"contentBlockIndex":2,"delta":{"text":"a \"b\" é"}}
contentBlockDelta {"contentBlockIndex":2,"delta":{"citation":{"title":"t","location":{"web":{"url":"u"}}}}}
contentBlockStop {"contentBlockIndex":2}
contentBlockStart {"contentBlockIndex":3,"start":{"toolUse":{"toolUseId":"tooluse_1","name":"f"}}}
contentBlockDelta {"contentBlockIndex":3,"delta":{"toolUse":{"input":"{\"x\":"}}}
contentBlockDelta {"contentBlockIndex":3,"delta":{"toolUse":{"input":"1}"}}}
contentBlockStop {"contentBlockIndex":3}
contentBlockStart {"contentBlockIndex":4,"start":{"toolUse":{"toolUseId":"tooluse_2","name":"g"}}}
contentBlockDelta {"contentBlockIndex":4,"delta":{"toolUse":{"input":"{\"y\":2}"}}}
contentBlockStop {"contentBlockIndex":4}
messageStop {"stopReason":"tool_use"}
metadata {"usage":{"inputTokens":3,"outputTokens":4,"totalTokens":9,"cacheReadInputTokens":2,"cacheWriteInputTokens":0}
`
	if d := cmp.Diff(want, encode(t, decode(t, answered))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	want = `messageStart {"role":"assistant"}
messageStop {"stopReason":"end_turn"}
metadata {"usage":{"inputTokens":0,"outputTokens":0,"totalTokens":0,"cacheReadInputTokens":0,"cacheWriteInputTokens":0}
`
	if d := cmp.Diff(want, encode(t, []chat.Chunk{{Type: chat.ChunkEnd}})); d != "" {
		t.Errorf("nothing (-want +got):\n%s", d)
	}
}

// TestDecoder_Ends checks that only a stream with its end passes for whole.
func TestDecoder_Ends(t *testing.T) {
	t.Parallel()
	for i := range answered {
		d := bedrock.Format{}.NewDecoder()
		for _, e := range answered[:i] {
			if _, err := d.Decode(nil, e); err != nil {
				t.Fatal(err)
			}
		}
		list, err := d.End(nil)
		stopped := i == len(answered)-1 // without its metadata
		if (err == nil) != stopped || stopped && (len(list) != 1 || list[0].Type != chat.ChunkEnd) {
			t.Errorf("after %d events: got %v, %v", i, list, err)
		}
	}
}

func TestDecoder_Broken(t *testing.T) {
	t.Parallel()
	for _, e := range []llm.Event{
		event("messageStart", `[]`),
		event("contentBlockDelta", `{"delta":null}`),
		event("contentBlockDelta", `{"delta":{"text":1}}`),
		event("contentBlockDelta", `{"delta":{"toolUse":{"input":"{}"}},"contentBlockIndex":5}`),
		event("contentBlockDelta", `{"delta":{"reasoningContent":[]}}`),
		event("contentBlockDelta", `{"contentBlockIndex":"x","delta":{"text":"a"}}`),
		event("contentBlockStart", `{"start":{"toolUse":null},"contentBlockIndex":0}`),
		event("messageStop", `{"stopReason":{}}`),
		event("metadata", `{"usage":`),
	} {
		_, err := bedrock.Format{}.NewDecoder().Decode(nil, e)
		if x, ok := errors.AsType[*llm.Error](err); !ok || x.Kind != llm.Upstream || x.Code != "invalid_response" {
			t.Errorf("%s %s: got %v", e.Type, e.Data, err)
		}
	}
}

func FuzzDecoder(f *testing.F) {
	for _, e := range answered {
		f.Add(string(e.Type), e.Data)
	}
	f.Fuzz(func(t *testing.T, typ string, data []byte) {
		d := bedrock.Format{}.NewDecoder()
		list, err := d.Decode(nil, llm.Event{Type: []byte(typ), Data: data})
		if err != nil {
			if _, ok := errors.AsType[*llm.Error](err); !ok {
				t.Errorf("got %T", err)
			}
			return
		}
		if list, err = d.End(list); err == nil && typ != "messageStop" && typ != "metadata" && len(data) > 0 {
			t.Errorf("a stream without an end passes: %v", list)
		}
		encode(t, list)
	})
}

func BenchmarkReader(b *testing.B) {
	stream := bytes.Repeat(frame("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":" hello"},"p":"abcdefghijkl"}`), 1000)
	b.ReportAllocs()
	b.SetBytes(int64(len(stream)))
	for b.Loop() {
		r := bedrock.NewReader(bytes.NewReader(stream), 0)
		for {
			if _, err := r.Next(); err != nil {
				break
			}
		}
	}
}

func BenchmarkDecoder(b *testing.B) {
	d, list := bedrock.Format{}.NewDecoder(), make([]chat.Chunk, 0, 8)
	e := event("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":" hello"},"p":"abcdefghijkl"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Decode(list[:0], e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncoder(b *testing.B) {
	enc, out := bedrock.Format{}.NewEncoder(&chat.Request{}), make([]byte, 0, 1<<10)
	c := chat.Chunk{Type: chat.ChunkText, Text: " hello"}
	b.ReportAllocs()
	for b.Loop() {
		out = enc.Encode(out[:0], &c)
	}
}
