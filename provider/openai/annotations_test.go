package openai_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/openai"
)

// TestPages: the pages that another vendor's models cite are OpenAI's annotations, whole and streamed; documents have no
// address, and are told as they came.
func TestPages(t *testing.T) {
	t.Parallel()
	const page = `{"type":"web_search_result_location","url":"https://x.example/a","title":"A","encrypted_index":"e","cited_text":"c"}`
	const result = `{"type":"search_result_location","source":"https://x.example/b","title":null}`
	const document = `{"type":"char_location","document_title":"D","source":"file.pdf"}`
	parts := []chat.Part{{Text: "Zür. "}, {Text: "Cited", Citations: json.RawMessage("[" + page + "," + result + "]"), Origin: "messages"}, {Text: "!", Citations: json.RawMessage("[" + document + "]"), Origin: "messages"}}
	flat := func(from, to string) string {
		at := `{"type":"url_citation","start_index":` + from + `,"end_index":` + to
		return at + `,"url":"https://x.example/a","title":"A"},` + at + `,"url":"https://x.example/b","title":""}`
	}
	nested := strings.NewReplacer(`"url_citation",`, `"url_citation","url_citation":{`, `},`, `}},`).Replace(flat("5", "10")) + "}"
	q, res := &chat.Request{}, &chat.Response{ID: "x", Model: "m", Created: 1, Choices: []chat.Choice{{Parts: parts, Finish: chat.FinishStop}}}

	whole, err := openai.Chat{}.EncodeResponse(q, res)
	if want := `"annotations":[` + nested + `]`; err != nil || !strings.Contains(string(whole), want) || !strings.Contains(string(whole), document) {
		t.Errorf("got %s (%v), want %s", whole, err, want)
	}
	whole, err = openai.Responses{}.EncodeResponse(q, res)
	if want := `"annotations":[` + flat("0", "5") + `]`; err != nil || !strings.Contains(string(whole), want) {
		t.Errorf("got %s (%v), want %s", whole, err, want)
	}

	chunks := []chat.Chunk{
		{Type: chat.ChunkStart, ID: "x", Model: "m", Created: 1},
		{Type: chat.ChunkText, Text: "Zür. "},
		{Type: chat.ChunkCitations, Raw: json.RawMessage(document), Origin: "messages"},
		{Type: chat.ChunkText, Text: "Cited"},
		{Type: chat.ChunkCitations, Raw: json.RawMessage(page), Origin: "messages"},
		{Type: chat.ChunkCitations, Raw: json.RawMessage(result), Origin: "messages"},
		{Type: chat.ChunkFinish, Finish: chat.FinishStop},
		{Type: chat.ChunkEnd},
	}
	streamed := func(enc chat.Encoder) (all string) {
		for i := range chunks {
			all += string(enc.Encode(nil, &chunks[i]))
		}
		return all
	}
	first, second, _ := strings.Cut(nested, "}},")
	for _, want := range []string{first + "}}", second} {
		if got := streamed(openai.Chat{}.NewEncoder(q)); !strings.Contains(got, `"annotations":[`+want+`],"provider_specific_fields":{"citations":`) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	got := streamed(openai.Responses{}.NewEncoder(q))
	first, second, _ = strings.Cut(flat("5", "10"), "},")
	for _, want := range []string{`"annotation_index":0,"annotation":` + first + "}", `"annotation_index":1,"annotation":` + second, `"annotations":[` + flat("5", "10") + `]`} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
