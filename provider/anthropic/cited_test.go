package anthropic_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/anthropic"
)

// cites is a citation of a page that Anthropic has not found itself.
func cites(url, title string) string {
	return `{"type":"web_search_result_location","cited_text":"","encrypted_index":"","title":` + title + `,"url":"` + url + `"}`
}

// TestPages: pages that other vendors' models cite are Anthropic's citations of the texts that are from them, and texts are
// divided there and nowhere else.
func TestPages(t *testing.T) {
	t.Parallel()
	nested := func(from, to, url string) string {
		return `{"type":"url_citation","url_citation":{"start_index":` + from + `,"end_index":` + to + `,"url":"` + url + `","title":"T"}}`
	}
	flat := func(from, to, url string) string {
		return `{"type":"url_citation","start_index":` + from + `,"end_index":` + to + `,"url":"` + url + `","title":"T"}`
	}
	a, b := cites("https://a", `"T"`), cites("https://b", `"T"`)
	block := func(text string, citations ...string) string {
		if citations == nil {
			return `{"type":"text","text":"` + text + `"}`
		}
		return `{"type":"text","text":"` + text + `","citations":[` + strings.Join(citations, ",") + `]}`
	}
	for _, tt := range []struct {
		name, text, origin, citations string
		want                          string // of the blocks
	}{
		{"in the middle", "Zürich is big. Yes.", "chat", nested("10", "13", "https://a"), block("Zürich is ") + "," + block("big", a) + "," + block(". Yes.")},
		{"flat, of an item's own text", "One. Two.", "responses", flat("5", "9", "https://a"), block("One. ") + "," + block("Two.", a)},
		{"two beside each other", "One. Two.", "chat", nested("5", "9", "https://b") + "," + nested("0", "4", "https://a"), block("One. ", a) + "," + block("Two.", b)},
		{"two of the same", "One. Two. ", "chat", nested("0", "4", "https://a") + "," + nested("0", "4", "https://b"), block("One.", a, b) + "," + block(" Two. ")},
		{"two that overlap", "One. Two.", "chat", nested("0", "6", "https://a") + "," + nested("4", "9", "https://b"), block("One. Two.", a, b)},
		{"without places", "One.", "chat", `{"url":"https://a"}`, block("One.", cites("https://a", "null"))},
		{"beyond the end", "One.", "chat", nested("0", "99", "https://a"), block("One.", a)},
		{"nowhere", "One.", "chat", nested("7", "99", "https://a"), block("One.", a)},
		{"no page", "One.", "chat", `{"type":"file_citation","file_id":"f"},` + nested("0", "4", "ftp://a") + `,7`, block("One.")},
		{"another form", "One.", "cohere_chat", `{"start":0,"end":4,"sources":[]}`, block("One.")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			raw := json.RawMessage("[" + tt.citations + "]")
			res := &chat.Response{ID: "m", Choices: []chat.Choice{{Parts: []chat.Part{{Text: tt.text, Citations: raw, Origin: tt.origin}}, Finish: chat.FinishStop}}}
			whole, err := anthropic.Format{}.EncodeResponse(&chat.Request{}, res)
			if err != nil || !strings.Contains(string(whole), `"content":[`+tt.want+`],"stop_reason"`) {
				t.Errorf("got %s (%v), want %s", whole, err, tt.want)
			}
		})
	}
}

// TestPages_Second: places in all texts of an answer are those of the text that they fall into.
func TestPages_Second(t *testing.T) {
	t.Parallel()
	raw := json.RawMessage(`[{"type":"url_citation","url_citation":{"start_index":5,"end_index":9,"url":"https://a","title":"` + strings.Repeat("ü", 600) + `"}}]`)
	parts := []chat.Part{{Text: "One. "}, {Text: "Two. Three.", Citations: raw, Origin: "chat"}}
	whole, err := anthropic.Format{}.EncodeResponse(&chat.Request{}, &chat.Response{ID: "m", Choices: []chat.Choice{{Parts: parts, Finish: chat.FinishStop}}})
	want := `{"type":"text","text":"One. "},{"type":"text","text":"Two.","citations":[` + cites("https://a", `"`+strings.Repeat("ü", 512)+`"`) + `]},{"type":"text","text":" Three."}`
	if err != nil || !strings.Contains(string(whole), want) {
		t.Errorf("got %s (%v), want %s", whole, err, want)
	}
}

// TestPages_Streamed: in a stream the text that has left is what they are for, and what comes then is another block.
func TestPages_Streamed(t *testing.T) {
	t.Parallel()
	annotation := func(url string) json.RawMessage {
		return json.RawMessage(`[{"type":"url_citation","start_index":0,"end_index":4,"url":"` + url + `","title":"T"}]`)
	}
	var got []byte
	enc := anthropic.Format{}.NewEncoder(&chat.Request{})
	for _, c := range []chat.Chunk{
		{Type: chat.ChunkStart, ID: "m"},
		{Type: chat.ChunkText, Text: "One."},
		{Type: chat.ChunkCitations, Raw: annotation("https://a"), Origin: "responses"},
		{Type: chat.ChunkCitations, Raw: annotation("https://b"), Origin: "responses"},
		{Type: chat.ChunkText, Text: " "},
		{Type: chat.ChunkText, Text: "Two."},
		{Type: chat.ChunkCitations, Raw: json.RawMessage(`[{"type":"file_citation"}]`), Origin: "responses"},
		{Type: chat.ChunkText, Text: " Three."},
		{Type: chat.ChunkFinish, Finish: chat.FinishStop},
		{Type: chat.ChunkEnd},
	} {
		got = enc.Encode(got, &c)
	}
	delta := func(index, delta string) string {
		return `{"type":"content_block_delta","index":` + index + `,"delta":` + delta + `}`
	}
	begin := func(index string) string {
		return `{"type":"content_block_start","index":` + index + `,"content_block":{"type":"text","text":""}}`
	}
	want := []string{
		begin("0"), delta("0", `{"type":"text_delta","text":"One."}`),
		delta("0", `{"type":"citations_delta","citation":`+cites("https://a", `"T"`)+`}`), delta("0", `{"type":"citations_delta","citation":`+cites("https://b", `"T"`)+`}`),
		delta("0", `{"type":"text_delta","text":" "}`), `{"type":"content_block_stop","index":0}`,
		begin("1"), delta("1", `{"type":"text_delta","text":"Two."}`), delta("1", `{"type":"text_delta","text":" Three."}`), `{"type":"content_block_stop","index":1}`,
	}
	var events []string
	r := llm.NewSSEReader(strings.NewReader(string(got)), 1<<20)
	for e, err := r.Next(); err == nil; e, err = r.Next() {
		if data := string(e.Data); strings.Contains(data, "content_block") {
			events = append(events, data)
		}
	}
	if strings.Join(events, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(events, "\n"), strings.Join(want, "\n"))
	}
}
