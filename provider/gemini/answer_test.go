package gemini_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/gemini"
)

// collect makes an answer of the events of a stream.
func collect(events ...string) (*chat.Response, error) {
	var c chat.Collector
	d := gemini.Dialect{}.NewDecoder()
	var list []chat.Chunk
	var err error
	for _, e := range events {
		if list, err = d.Decode(list, llm.Event{Data: []byte(e)}); err != nil {
			return nil, err
		}
	}
	if list, err = d.End(list); err != nil {
		return nil, err
	}
	for i := range list {
		c.Add(&list[i])
	}
	return c.Response(), nil
}

// TestGrounding: what Google found is told as OpenAI's annotations, whose places are characters,
// and a client of Google's gets back what it can know of that.
func TestGrounding(t *testing.T) {
	t.Parallel()
	sources := `"groundingChunks":[{"web":{"uri":"https://a","title":"A"}},{"web":{"uri":"https://b","title":"B"}}]`
	supports := `"groundingSupports":[{"segment":{"startIndex":3,"endIndex":7,"text":"größ"},"groundingChunkIndices":[1,9]}]`
	cite := func(start, end int, url, title string) string {
		raw, _ := json.Marshal(map[string]any{"type": "url_citation", "url_citation": map[string]any{"start_index": start, "end_index": end, "url": url, "title": title}})
		return string(raw)
	}
	for _, tt := range []struct {
		name   string
		events []string
		want   []string
	}{
		{"a part of the text", []string{`{"candidates":[{"content":{"parts":[{"text":"ja größer"}]},"finishReason":"STOP","groundingMetadata":{` + sources + `,` + supports + `}}]}`}, []string{cite(3, 6, "https://b", "B")}},
		{"streamed in pieces", []string{
			`{"candidates":[{"content":{"parts":[{"text":"ja grö"}]},"groundingMetadata":{` + sources + `}}]}`,
			`{"candidates":[{"content":{"parts":[{"text":"ßer"}]},"finishReason":"STOP"}]}`,
			`{"candidates":[{"groundingMetadata":{` + supports + `}}]}`,
		}, []string{cite(3, 6, "https://b", "B")}},
		{"sources alone", []string{`{"candidates":[{"content":{"parts":[{"text":"größer"}]},"finishReason":"STOP","groundingMetadata":{` + sources + `}}]}`}, []string{cite(0, 6, "https://a", "A"), cite(0, 6, "https://b", "B")}},
		{"recited", []string{`{"candidates":[{"content":{"parts":[{"text":"abc"}]},"finishReason":"STOP","citationMetadata":{"citationSources":[{"startIndex":1,"endIndex":99,"uri":"https://c"}]}}]}`}, []string{cite(1, 3, "https://c", "")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			res, err := collect(tt.events...)
			if err != nil || len(res.Choices) != 1 || len(res.Choices[0].Parts) != 1 {
				t.Fatalf("got %+v, %v", res, err)
			}
			p := res.Choices[0].Parts[0]
			var got, want any
			if json.Unmarshal(p.Citations, &got) != nil || json.Unmarshal([]byte("["+strings.Join(tt.want, ",")+"]"), &want) != nil || p.Origin != "chat" {
				t.Fatalf("got %s of %q", p.Citations, p.Origin)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			body, err := gemini.Dialect{}.EncodeResponse(&chat.Request{}, res)
			if err != nil {
				t.Fatal(err)
			}
			again, err := gemini.Dialect{}.DecodeResponse(body)
			if err != nil || string(again.Choices[0].Parts[0].Citations) != string(p.Citations) {
				t.Errorf("said to a client: %s\nread again: %s (%v)", body, again.Choices[0].Parts[0].Citations, err)
			}
		})
	}
}

func TestLogProbs(t *testing.T) {
	t.Parallel()
	probs := `{"topCandidates":[{"candidates":[{"token":"a","tokenId":3,"logProbability":-0.5},{"token":"b","logProbability":-1e2}]}],"chosenCandidates":[{"token":"a","logProbability":-0.5},{"token":"c"}]}`
	res, err := collect(`{"candidates":[{"content":{"parts":[{"text":"ac"}]},"finishReason":"STOP","logprobsResult":` + probs + `}]}`)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"content":[{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[{"token":"a","logprob":-0.5,"bytes":[97]},{"token":"b","logprob":-1e2,"bytes":[98]}]},{"token":"c","logprob":0,"bytes":[99],"top_logprobs":[]}],"refusal":null}`
	if got := string(res.Choices[0].LogProbs); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	body, _ := gemini.Dialect{}.EncodeResponse(&chat.Request{}, res)
	again, err := gemini.Dialect{}.DecodeResponse(body)
	if err != nil || string(again.Choices[0].LogProbs) != want {
		t.Errorf("read again: %+v, %v\n%s", again, err, body)
	}
	chunks := chat.Chunks(nil, res)
	enc := gemini.Dialect{}.NewEncoder(&chat.Request{})
	var out []byte
	for i := range chunks {
		out = enc.Encode(out, &chunks[i])
	}
	if !strings.Contains(string(out), `"logprobsResult":{"chosenCandidates":[{"token":"a","logProbability":-0.5}`) {
		t.Errorf("streamed: %s", out)
	}
}

// TestDecode_Failed: a model that fails is a provider that does, and broken answers never end well.
func TestDecode_Failed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, code string
		events     []string
	}{
		{"malformed call", "malformed_answer", []string{`{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL","finishMessage":"Malformed function call: x"}]}`}},
		{"cut", "upstream_cut", []string{`{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}`}},
		{"one of two choices is cut", "upstream_cut", []string{`{"candidates":[{"finishReason":"STOP"},{"index":1,"content":{"parts":[{"text":"a"}]}}]}`}},
		{"nothing", "upstream_cut", nil},
		{"no JSON", "invalid_response", []string{`<html>`}},
		{"null", "invalid_response", []string{`null`}},
		{"no candidate", "invalid_response", []string{`{"candidates":[null]}`}},
		{"an index out of bounds", "invalid_response", []string{`{"candidates":[{"index":99999}]}`}},
		{"parts of another type", "invalid_response", []string{`{"candidates":[{"content":{"parts":{"text":"a"}}}]}`}},
		{"a part of another type", "invalid_response", []string{`{"candidates":[{"content":{"parts":["a"]}}]}`}},
		{"a text of another type", "invalid_response", []string{`{"candidates":[{"content":{"parts":[{"text":5}]}}]}`}},
		{"a call of another type", "invalid_response", []string{`{"candidates":[{"content":{"parts":[{"functionCall":[]}]}}]}`}},
		{"an error", "unavailable", []string{`{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}`, `{"error":{"code":503,"status":"UNAVAILABLE","message":"m"}}`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := collect(tt.events...)
			if e, ok := errors.AsType[*llm.Error](err); !ok || e.Code != tt.code || e.Kind != llm.Upstream && e.Kind != llm.Unavailable {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestFinishReasons(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]chat.Finish{
		"STOP": chat.FinishStop, "MAX_TOKENS": chat.FinishLength, "SAFETY": chat.FinishFilter, "RECITATION": chat.FinishFilter,
		"PROHIBITED_CONTENT": chat.FinishFilter, "IMAGE_SAFETY": chat.FinishFilter, "OTHER": chat.FinishStop, "SOMETHING_NEW": chat.FinishStop,
	} {
		if res, err := collect(`{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"` + reason + `"}]}`); err != nil || res.Choices[0].Finish != want {
			t.Errorf("%s: got %+v, %v", reason, res, err)
		}
	}
	if res, err := collect(`{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":3}}`); err != nil || res.Choices[0].Finish != chat.FinishFilter || res.Usage.Input != 3 {
		t.Errorf("blocked: got %+v, %v", res, err)
	}
}

// TestSignatures: reasoning of another vendor passes through a client of Google's, and back.
func TestSignatures(t *testing.T) {
	t.Parallel()
	res := &chat.Response{Choices: []chat.Choice{{Finish: chat.FinishStop, Parts: []chat.Part{
		{Type: chat.PartReasoning, Text: "hm", Signature: "ErUB+/x="}, {Type: chat.PartReasoning, Data: "gAAAA-_"}, {Text: "a"},
	}}}}
	body, err := gemini.Dialect{}.EncodeResponse(&chat.Request{Model: "m"}, res)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Candidates []struct {
			Content json.RawMessage `json:"content"`
		} `json:"candidates"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatal(err)
	}
	req, err := gemini.Dialect{}.DecodeRequest([]byte(`{"contents":[` + string(answer.Candidates[0].Content) + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	var signatures, data []string
	for _, p := range req.Messages[0].Parts {
		if p.Signature != "" {
			signatures = append(signatures, p.Signature)
		}
		if p.Data != "" {
			data = append(data, p.Data)
		}
	}
	if len(signatures) != 1 || signatures[0] != "ErUB+/x=" || len(data) != 1 || data[0] != "gAAAA-_" {
		t.Errorf("got %q and %q of %s", signatures, data, body)
	}
}

// TestCallIDs: calls without ids have the same in the same answer, and others in another.
func TestCallIDs(t *testing.T) {
	t.Parallel()
	ids := func(response string) (list []string) {
		res, err := collect(`{"responseId":"`+response+`","candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":1}}}]}}]}`,
			`{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":1}}}]},"finishReason":"STOP"}]}`)
		if err != nil || res.Choices[0].Finish != chat.FinishTools {
			t.Fatalf("got %+v, %v", res, err)
		}
		for _, p := range res.Choices[0].Parts {
			list = append(list, p.ID)
		}
		return list
	}
	a, again, b := ids("r1"), ids("r1"), ids("r2")
	if len(a) != 2 || a[0] == a[1] || a[0] != again[0] || a[0] == b[0] {
		t.Errorf("got %q, %q, %q", a, again, b)
	}
}

var event = []byte(`{"candidates":[{"content":{"parts":[{"text":"a piece of \"text\" that goes on"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":8,"totalTokenCount":15,"promptTokensDetails":[{"modality":"TEXT","tokenCount":7}]},"modelVersion":"gemini-2.5-flash","responseId":"abc"}`)

func BenchmarkDecoder(b *testing.B) {
	d := gemini.Dialect{}.NewDecoder()
	var list []chat.Chunk
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%50 == 0 {
			d = gemini.Dialect{}.NewDecoder()
		}
		var err error
		if list, err = d.Decode(list[:0], llm.Event{Data: event}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncoder(b *testing.B) {
	enc := gemini.Dialect{}.NewEncoder(&chat.Request{Model: "m"})
	c := &chat.Chunk{Type: chat.ChunkText, Text: "a piece of \"text\" that goes on"}
	var out []byte
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%50 == 0 {
			enc = gemini.Dialect{}.NewEncoder(&chat.Request{Model: "m"})
		}
		out = enc.Encode(out[:0], c)
	}
}

func BenchmarkMeter(b *testing.B) {
	m := gemini.Codec{}.Meter(llm.GenerateContent)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Event(llm.Event{Data: event}); err != nil {
			b.Fatal(err)
		}
	}
}
