package chat_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// everything is an answer with a part of every type that an answer may have.
func everything() *chat.Response {
	return &chat.Response{
		ID: "i", Model: "m", Created: 1, Tier: "flex", Usage: llm.Usage{Input: 1, Output: 2, Source: llm.UsageProvider},
		Choices: []chat.Choice{
			{Finish: chat.FinishTools, StopText: "x", LogProbs: json.RawMessage(`{"content":[1]}`), Parts: []chat.Part{
				{Type: chat.PartReasoning, Text: "hm", Signature: "s"},
				{Type: chat.PartReasoning, Data: "d", ID: "rs"},
				{Text: "a", Citations: json.RawMessage(`[{"url":"u"}]`), Origin: "chat"},
				{Type: chat.PartRefusal, Text: "no"},
				{Type: chat.PartImage, Media: &chat.Media{MIME: "image/png", Data: "A"}},
				{Type: chat.PartAudio, ID: "u", Text: "spoken", Media: &chat.Media{MIME: "audio/wav", Data: "B"}},
				{Type: chat.PartOther, Raw: json.RawMessage(`{"x":1}`), Origin: "messages"},
				{Type: chat.PartToolCall, ID: "c1", Name: "f", Arguments: json.RawMessage(`{"a":1}`), Signature: "g"},
				{Type: chat.PartToolCall, ID: "c2", Name: "f", Arguments: json.RawMessage(`{}`)},
			}},
			{Index: 1, Finish: chat.FinishStop, Parts: []chat.Part{{Text: "b"}}},
		},
	}
}

func TestChunks(t *testing.T) {
	t.Parallel()
	var c chat.Collector
	chunks := chat.Chunks(nil, everything())
	for i := range chunks {
		c.Add(&chunks[i])
	}
	if d := cmp.Diff(everything(), c.Response()); d != "" {
		t.Errorf("an answer that is taken apart and put together (-before +after)\n%s", d)
	}
	if last := chunks[len(chunks)-1]; last.Type != chat.ChunkEnd {
		t.Errorf("got %d at the end", last.Type)
	}
}

func TestCollector_Pieces(t *testing.T) {
	t.Parallel()
	var c chat.Collector
	for _, k := range []chat.Chunk{
		{Type: chat.ChunkText, Choice: 1, Text: "b"},
		{Type: chat.ChunkText, Text: "a"},
		{Type: chat.ChunkToolArgs, Index: 7, Text: "of no call"},
		{Type: chat.ChunkCitations, Raw: json.RawMessage(`{"n":1}`), Origin: "chat"},
		{Type: chat.ChunkCitations, Raw: json.RawMessage(`[{"n":2}]`), Origin: "chat"},
		{Type: chat.ChunkText, Text: "a"},
		{Type: chat.ChunkLogProbs, Raw: json.RawMessage(`{"content":[1],"refusal":null}`)},
		{Type: chat.ChunkLogProbs, Raw: json.RawMessage(`{"content":[2],"refusal":null}`)},
		{Type: chat.ChunkMedia, ID: "u", Media: &chat.Media{MIME: "audio/wav", Data: "A"}},
		{Type: chat.ChunkMedia, Text: "x", Media: &chat.Media{MIME: "audio/wav", Data: "B"}},
		{Type: chat.ChunkUsage, Usage: llm.Usage{Input: 1}, Tier: "flex"},
		{Type: chat.ChunkUsage, Usage: llm.Usage{Input: 2}},
		{Type: chat.ChunkPing},
	} {
		c.Add(&k)
	}
	want := &chat.Response{Tier: "flex", Usage: llm.Usage{Input: 2}, Choices: []chat.Choice{
		{LogProbs: json.RawMessage(`{"content":[1,2],"refusal":null}`), Parts: []chat.Part{
			{Text: "aa", Citations: json.RawMessage(`[{"n":1},{"n":2}]`), Origin: "chat"},
			{Type: chat.PartAudio, ID: "u", Text: "x", Media: &chat.Media{MIME: "audio/wav", Data: "AB"}},
		}},
		{Index: 1, Parts: []chat.Part{{Text: "b"}}},
	}}
	if d := cmp.Diff(want, c.Response()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestFinishOf(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]chat.Finish{
		"": chat.FinishNone, "stop": chat.FinishStop, "eos": chat.FinishStop, "length": chat.FinishLength, "max_tokens": chat.FinishLength,
		"tool_calls": chat.FinishTools, "function_call": chat.FinishTools, "content_filter": chat.FinishFilter,
	} {
		if got := chat.FinishOf(name); got != want {
			t.Errorf("%q: got %d, want %d", name, got, want)
		}
	}
	for f, want := range map[chat.Finish]string{
		chat.FinishNone: "", chat.FinishStop: "stop", chat.FinishRefusal: "stop", chat.FinishPause: "stop", chat.FinishOverflow: "length",
	} {
		if got := f.String(); got != want {
			t.Errorf("%d: got %q, want %q", f, got, want)
		}
	}
}

func TestReasoning(t *testing.T) {
	t.Parallel()
	none, some := int64(0), int64(9)
	for _, tt := range []struct {
		r          chat.Reasoning
		asked, off bool
	}{
		{chat.Reasoning{}, false, false},
		{chat.Reasoning{Effort: "low"}, true, false},
		{chat.Reasoning{Effort: "none"}, true, true},
		{chat.Reasoning{Budget: &none}, true, true},
		{chat.Reasoning{Budget: &some}, true, false},
		{chat.Reasoning{Adaptive: true}, true, false},
	} {
		if tt.r.Asked() != tt.asked || tt.r.Off() != tt.off {
			t.Errorf("%+v: got %v, %v", tt.r, tt.r.Asked(), tt.r.Off())
		}
	}
}
