// Package cloudflare knows Cloudflare's Workers AI: OpenAI's format for conversations and embeddings, and
// forms of its own for the models that write audio down, as the pages of the models of 2026 have them.
package cloudflare

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/llm/transcript"
	"github.com/conclave-llm/conclave/provider/openai"
)

// RootOf is the address of an endpoint: what has a form of its own is beside OpenAI's paths, and not
// below them.
func RootOf(e llm.Endpoint, base string) string {
	if rest, ok := strings.CutSuffix(base, "/ai/v1"); ok && e == llm.CloudflareListen {
		return rest + "/ai"
	}
	return base
}

// Codec is Cloudflare's format.
type Codec struct{ openai.Codec }

// Path is the endpoint's path, in which the model stands for what has a form of its own:
// "@cf/openai/whisper-large-v3-turbo".
func (c Codec) Path(p llm.Place) string {
	if p.Endpoint != llm.CloudflareListen {
		return c.Codec.Path(p)
	}
	return "/run" + llm.ModelPath(p.Model)
}

// Read reads a whole answer.
func (c Codec) Read(e llm.Endpoint, body []byte) (llm.Report, error) {
	if e == llm.CloudflareListen {
		return embed.Report(body, "") // what it used is read with what it heard
	}
	return c.Codec.Read(e, body)
}

// Classify makes the error of an answer: OpenAI's, or {"success":false,"errors":[{"code":…,"message":…}]}.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	var said struct {
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &said) != nil || len(said.Errors) == 0 || said.Errors[0].Message == "" {
		return c.Codec.Classify(now, status, h, body)
	}
	raw := llm.AppendString([]byte(`{"error":{"message":`), said.Errors[0].Message)
	e := c.Codec.Classify(now, status, h, append(raw, "}}"...))
	e.Body = nil
	return e
}

// Listen is the form of transcriptions.
type Listen struct{}

// options are the further members that the larger model takes.
var options = []string{"vad_filter", "prefix", "beam_size", "condition_on_previous_text"}

// EncodeRequest writes a request for the provider. The larger model takes the audio in JSON and can be told
// about it; the others take its bytes alone.
func (Listen) EncodeRequest(req *transcript.Request, t *llm.Target) (*llm.Sent, error) {
	if req.Temperature != "" {
		t.Drop("temperature")
	}
	if !strings.Contains(t.Model, "large") {
		return bytesAlone(req, t)
	}
	dst := append([]byte(nil), `{"audio":"`...)
	dst = append(base64.StdEncoding.AppendEncode(dst, req.File), '"')
	task := "transcribe"
	if req.English {
		task = "translate"
	}
	dst = llm.AppendString(llm.AppendKey(dst, "task"), task)
	if req.Language != "" {
		dst = llm.AppendString(llm.AppendKey(dst, "language"), req.Language)
	}
	if req.Prompt != "" {
		dst = llm.AppendString(llm.AppendKey(dst, "initial_prompt"), req.Prompt)
	}
	said := req.Texts(t, options...)
	for _, name := range options {
		switch v, ok := said[name]; {
		case !ok:
		case name == "prefix":
			dst = llm.AppendString(llm.AppendKey(dst, name), v)
		case json.Valid([]byte(v)):
			dst = append(llm.AppendKey(dst, name), v...)
		default:
			t.Drop(name)
		}
	}
	return &llm.Sent{Body: append(dst, '}')}, nil
}

// bytesAlone writes a request of a model that takes nothing but the audio.
func bytesAlone(req *transcript.Request, t *llm.Target) (*llm.Sent, error) {
	if req.English {
		return nil, llm.Unsayable("model", "The model "+t.Model+" does not translate: @cf/openai/whisper-large-v3-turbo does.")
	}
	if req.Language != "" {
		t.Drop("language")
	}
	if req.Prompt != "" {
		t.Drop("prompt")
	}
	req.Texts(t)
	return &llm.Sent{Pieces: [][]byte{req.File}, Type: "application/octet-stream"}, nil
}

// word is a word of an answer.
type word struct {
	Word  string  `json:"word"`
	Start float64 `json:"start"`
	End   float64 `json:"end"`
}

var errNone = errors.New("it has no text")

// DecodeResponse reads an answer: {"result":{"text":…,"segments":[…],"transcription_info":{…}},"success":true}.
func (Listen) DecodeResponse(body []byte) (*transcript.Response, error) {
	var got struct {
		Result struct {
			Text  *string `json:"text"`
			Words []word  `json:"words"`
			Info  struct {
				Language string  `json:"language"`
				Duration float64 `json:"duration"`
			} `json:"transcription_info"`
			Segments []struct {
				Text  string  `json:"text"`
				Start float64 `json:"start"`
				End   float64 `json:"end"`
				Words []word  `json:"words"`
			} `json:"segments"`
		} `json:"result"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, transcript.Malformed(err)
	}
	if got.Result.Text == nil {
		return nil, transcript.Malformed(errNone)
	}
	res := &transcript.Response{Text: strings.TrimSpace(*got.Result.Text), Language: got.Result.Info.Language}
	res.Heard(got.Result.Info.Duration)
	add(res, got.Result.Words)
	for _, s := range got.Result.Segments {
		res.Segments = append(res.Segments, transcript.Segment{Text: strings.TrimSpace(s.Text), Start: s.Start, End: s.End})
		add(res, s.Words)
	}
	return res, nil
}

func add(res *transcript.Response, words []word) {
	for _, w := range words {
		res.Words = append(res.Words, transcript.Word{Text: strings.TrimSpace(w.Word), Start: w.Start, End: w.End})
	}
}
