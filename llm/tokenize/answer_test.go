package tokenize_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/llm/tokenize"
)

// TestAnswer: the pieces of one text are counted as that text, whatever comes between them, and a whole answer as the same one in pieces.
func TestAnswer(t *testing.T) {
	t.Parallel()
	k, err := tokenize.Get("r50k_base")
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, text := range []string{"Let me see.", "0000 hello", "hello", "look_up", `{"q":"conclave"}`} {
		n, err := k.Count(text)
		if err != nil {
			t.Fatal(err)
		}
		want += n
	}
	chunks := []chat.Chunk{
		{Type: chat.ChunkStart, ID: "not counted"},
		{Type: chat.ChunkReasoning, Text: "Let me"},
		{Type: chat.ChunkReasoning, Text: " see."},
		{Type: chat.ChunkSignature, Text: "not counted"},
		{Type: chat.ChunkText, Text: "000"},
		{Type: chat.ChunkText, Choice: 1, Text: "hel"},
		{Type: chat.ChunkText, Text: "0 hello"},
		{Type: chat.ChunkText, Choice: 1, Text: "lo"},
		{Type: chat.ChunkToolStart, ID: "not counted", Name: "look_up"},
		{Type: chat.ChunkToolArgs, Text: `{"q":"con`},
		{Type: chat.ChunkToolArgs, Text: `clave"}`},
		{Type: chat.ChunkFinish},
		{Type: chat.ChunkFinish, Choice: 1},
		{Type: chat.ChunkEnd},
	}
	var pieces, whole tokenize.Answer
	var all chat.Collector
	for i := range chunks {
		pieces.Add(&chunks[i])
		all.Add(&chunks[i])
	}
	whole.AddWhole(all.Response())
	for name, a := range map[string]*tokenize.Answer{"in pieces": &pieces, "whole": &whole} {
		if got, err := a.Count(k); err != nil || got != want {
			t.Errorf("%s: counted %d, %v, want %d", name, got, err, want)
		}
	}
}

// TestAnswer_Lost: what was not kept whole is not counted.
func TestAnswer_Lost(t *testing.T) {
	t.Parallel()
	k, err := tokenize.Get("r50k_base")
	if err != nil {
		t.Fatal(err)
	}
	half := chat.Chunk{Type: chat.ChunkText, Text: strings.Repeat("x ", tokenize.MaxAnswer/4)}
	var a tokenize.Answer
	a.Add(&half)
	a.Add(&half)
	if n, err := a.Count(k); err != nil || n == 0 {
		t.Errorf("of all that is kept: counted %d, %v", n, err)
	}
	a.Add(&chat.Chunk{Type: chat.ChunkText, Text: "x"})
	a.Add(&chat.Chunk{Type: chat.ChunkText, Text: "x"})
	if n, err := a.Count(k); err == nil {
		t.Errorf("of more than is kept: counted %d", n)
	}
}
