package mock

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/conclave-llm/conclave/llm"
)

// pixel is the image that every image is: a PNG of one pixel.
const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

// soundPiece is the sound of one word.
var soundPiece = bytes.Repeat([]byte{0x00, 0x7f}, 256)

// openForm reads a form, of whose files only the sizes are kept.
func (x *exchange) openForm() error {
	_, params, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	if err != nil {
		return &llm.Error{Kind: llm.Invalid, Message: "The content type cannot be read."}
	}
	r := multipart.NewReader(bytes.NewReader(x.body), params["boundary"])
	x.form, x.files = map[string][]string{}, map[string]int{}
	for {
		p, err := r.NextPart()
		if err == io.EOF { //nolint:errorlint // a reader returns the very value
			break
		}
		if err != nil {
			return &llm.Error{Kind: llm.Invalid, Message: "The form cannot be read: " + err.Error()}
		}
		value, err := io.ReadAll(p)
		if err != nil {
			return &llm.Error{Kind: llm.Invalid, Message: "The form cannot be read: " + err.Error()}
		}
		if p.FileName() != "" {
			x.files[p.FormName()] += len(value)
			continue
		}
		x.form[p.FormName()] = append(x.form[p.FormName()], string(value))
	}
	x.entry.Body = fmt.Sprint(x.form)
	x.fields = llm.Fields{Model: x.field("model"), Stream: x.field("stream") == "true", N: 1, PromptBytes: int64(len(x.field("prompt")))}
	if n, err := strconv.ParseInt(x.field("n"), 10, 64); err == nil && n > 0 {
		x.fields.N = n
	}
	return nil
}

// field is a text field of the form, "" if there is none.
func (x *exchange) field(name string) string {
	if v := x.form[name]; len(v) == 1 {
		return v[0]
	}
	return ""
}

// categories are those of OpenAI's moderation.
var categories = []string{
	"harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm", "self-harm/instructions",
	"self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
}

// moderations flags a text by the names of the categories that it holds, as words or not.
func (s *Server) moderations(x *exchange) error {
	var req struct {
		Input json.RawMessage `json:"input"`
	}
	if err := json.Unmarshal(x.body, &req); err != nil || len(req.Input) == 0 {
		return &llm.Error{Kind: llm.Invalid, Param: "input", Message: "The request must have an input."}
	}
	var list []json.RawMessage
	if json.Unmarshal(req.Input, &list) != nil {
		list = []json.RawMessage{req.Input}
	}
	results := make([]map[string]any, len(list))
	for i, in := range list {
		results[i] = moderated(in)
	}
	return x.json(map[string]any{"id": fmt.Sprintf("modr-mock-%d", s.ids.Add(1)), "model": x.fields.Model, "results": results})
}

// moderated is the result for one input.
func moderated(in []byte) map[string]any {
	flagged, flags, scores, types := false, map[string]bool{}, map[string]float64{}, map[string][]string{}
	for _, c := range categories {
		flags[c], scores[c], types[c] = bytes.Contains(in, []byte(c)), 0.01, []string{"text"}
		if flags[c] {
			flagged, scores[c] = true, 0.9
		}
	}
	return map[string]any{"flagged": flagged, "categories": flags, "category_scores": scores, "category_applied_input_types": types}
}

// images answers with as many images as are asked for, and with tokens where the model counts in them.
func (s *Server) images(x *exchange) error {
	if x.fields.Stream {
		return x.imageStream()
	}
	if x.r.URL.Path[strings.LastIndexByte(x.r.URL.Path, '/')+1:] != "generations" && len(x.files) == 0 && x.form != nil {
		return &llm.Error{Kind: llm.Invalid, Param: "image", Message: "The request must have an image."}
	}
	data := make([]map[string]string, x.fields.N)
	for i := range data {
		data[i] = map[string]string{"b64_json": pixel}
	}
	out := map[string]any{"created": x.entry.Time.Unix(), "data": data}
	if strings.HasPrefix(x.fields.Model, "gpt-image") {
		out["usage"] = x.imageUsage()
	}
	return x.json(out)
}

func (x *exchange) imageUsage() map[string]any {
	in := max(1, (x.fields.PromptBytes+3)/4)
	made := 100 * x.fields.N
	x.entry.PromptTokens, x.entry.CompletionTokens = in, made
	return map[string]any{
		"input_tokens": in, "output_tokens": made, "total_tokens": in + made,
		"input_tokens_details": map[string]int64{"text_tokens": in, "image_tokens": 0},
	}
}

// imageStream sends a partial image and then the whole one.
func (x *exchange) imageStream() error {
	return x.events(
		map[string]any{"type": "image_generation.partial_image", "partial_image_index": 0, "b64_json": pixel},
		map[string]any{"type": "image_generation.completed", "b64_json": pixel, "usage": x.imageUsage()},
	)
}

// speech answers with a sound for each word, as bytes or as events.
func (s *Server) speech(x *exchange) error {
	var req struct {
		Input        string `json:"input"`
		Voice        any    `json:"voice"`
		StreamFormat string `json:"stream_format"`
	}
	if err := json.Unmarshal(x.body, &req); err != nil || req.Input == "" || req.Voice == nil {
		return &llm.Error{Kind: llm.Invalid, Param: "input", Message: "The request must have an input and a voice."}
	}
	words := int64(len(strings.Fields(req.Input)))
	x.entry.PromptTokens, x.entry.CompletionTokens = int64(utf8.RuneCountInString(req.Input)+3)/4, 10*words
	if req.StreamFormat == "sse" {
		events := make([]any, 0, words+1)
		for range words {
			events = append(events, map[string]any{"type": "speech.audio.delta", "audio": base64.StdEncoding.EncodeToString(soundPiece)})
		}
		usage := map[string]int64{"input_tokens": x.entry.PromptTokens, "output_tokens": 10 * words, "total_tokens": x.entry.PromptTokens + 10*words}
		return x.events(append(events, map[string]any{"type": "speech.audio.done", "usage": usage})...)
	}
	x.w.Header()["Content-Type"] = []string{"audio/mpeg"}
	out := make([]byte, 0, 4<<10)
	for i := range int(words) {
		if going, _ := x.pace(&out, i); !going {
			return nil
		}
		out = append(out, soundPiece...)
	}
	if going, _ := x.pace(&out, int(words)); !going {
		return nil
	}
	_, err := x.w.Write(out)
	x.entry.Whole = err == nil
	return nil
}

// transcribe answers with how much audio came: a second for 8,000 bytes.
func (s *Server) transcribe(x *exchange) error {
	size := x.files["file"]
	if size == 0 {
		return &llm.Error{Kind: llm.Invalid, Param: "file", Message: "The request must have a file."}
	}
	seconds := float64(size) / 8000
	text := fmt.Sprintf("audio of %d bytes", size)
	usage := map[string]any{"type": "duration", "seconds": seconds}
	if x.fields.Stream {
		return x.events(
			map[string]any{"type": "transcript.text.delta", "delta": text},
			map[string]any{"type": "transcript.text.done", "text": text, "usage": usage},
		)
	}
	switch x.field("response_format") {
	case "text", "srt", "vtt":
		x.w.Header()["Content-Type"] = []string{"text/plain; charset=utf-8"}
		_, err := io.WriteString(x.w, text+"\n")
		x.entry.Whole = err == nil
		return nil
	case "verbose_json":
		return x.json(map[string]any{"task": "transcribe", "language": "english", "duration": seconds, "text": text, "segments": []any{}})
	}
	return x.json(map[string]any{"text": text, "usage": usage})
}

// rerank orders documents by how many words of the query they have.
func (s *Server) rerank(x *exchange) error {
	var req struct {
		Query     string            `json:"query"`
		Documents []json.RawMessage `json:"documents"`
		TopN      int               `json:"top_n"`
	}
	if err := json.Unmarshal(x.body, &req); err != nil || req.Query == "" || len(req.Documents) == 0 {
		return &llm.Error{Kind: llm.Invalid, Param: "documents", Message: "The request must have a query and documents."}
	}
	results := make([]map[string]any, 0, len(req.Documents))
	for want := len(strings.Fields(req.Query)); want >= 0; want-- {
		for i, d := range req.Documents {
			if n := matches(req.Query, d); n == want {
				results = append(results, map[string]any{"index": i, "relevance_score": float64(n) / float64(len(strings.Fields(req.Query)))})
			}
		}
	}
	if req.TopN > 0 {
		results = results[:min(req.TopN, len(results))]
	}
	units := (len(req.Documents) + 99) / 100
	return x.json(map[string]any{
		"id": fmt.Sprintf("rerank-mock-%d", s.ids.Add(1)), "results": results,
		"meta": map[string]any{"billed_units": map[string]int{"search_units": units}},
	})
}

// matches counts the words of the query that the document has.
func matches(query string, document []byte) int {
	n := 0
	for word := range strings.FieldsSeq(query) {
		if bytes.Contains(document, []byte(word)) {
			n++
		}
	}
	return n
}

// json sends a whole answer.
func (x *exchange) json(v any) error {
	out, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return x.send(&reply{usage: usage{prompt: x.entry.PromptTokens, completion: x.entry.CompletionTokens}}, out)
}

// events sends a stream of events, at the plan's pace.
func (x *exchange) events(list ...any) error {
	x.w.Header()["Content-Type"] = []string{"text/event-stream; charset=utf-8"}
	var out []byte
	for i, v := range list {
		if going, _ := x.pace(&out, i); !going {
			return nil
		}
		data, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("encode event: %w", err)
		}
		out = append(out, "data: "...)
		out = append(append(out, data...), "\n\n"...)
	}
	_, err := x.w.Write(out)
	x.entry.Whole = err == nil
	return nil
}

// isForm says whether the request is a form.
func isForm(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data")
}
