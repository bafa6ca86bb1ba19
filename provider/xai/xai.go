// Package xai knows xAI: OpenAI's format, and a form of its own for transcriptions (/stt), as its API
// reference of 2026 has it.
package xai

import (
	"encoding/json"
	"errors"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/llm/multipart"
	"github.com/conclave-llm/conclave/llm/transcript"
	"github.com/conclave-llm/conclave/provider/openai"
)

// listen is the path of transcriptions.
const listen = "/stt"

// Codec is xAI's format.
type Codec struct{ openai.Codec }

// Path is the endpoint's path.
func (c Codec) Path(p llm.Place) string {
	if p.Endpoint == llm.XAIListen {
		return listen
	}
	return c.Codec.Path(p)
}

// Read reads a whole answer.
func (c Codec) Read(e llm.Endpoint, body []byte) (llm.Report, error) {
	if e == llm.XAIListen {
		return embed.Report(body, "") // what it used is read with what it heard
	}
	return c.Codec.Read(e, body)
}

// Listen is the form of transcriptions.
type Listen struct{}

// options are the further fields that are taken.
var options = []string{"format", "diarize", "multichannel", "channels", "keyterm", "filler_words", "audio_format", "sample_rate"}

// EncodeRequest writes a form, whose last field is the file.
func (Listen) EncodeRequest(req *transcript.Request, t *llm.Target) (*llm.Sent, error) {
	if req.Prompt != "" {
		t.Drop("prompt")
	}
	if req.Temperature != "" {
		t.Drop("temperature")
	}
	said := req.Texts(t, options...)
	f := multipart.New()
	f.Field("model", t.Model)
	if req.Language != "" {
		f.Field("language", req.Language)
	}
	for _, name := range options {
		if v, ok := said[name]; ok {
			f.Field(name, v)
		}
	}
	f.File("file", req.Name, req.Type, req.File)
	return &llm.Sent{Pieces: f.Pieces(), Type: f.Type()}, nil
}

var errNone = errors.New("it has no text")

// DecodeResponse reads an answer.
func (Listen) DecodeResponse(body []byte) (*transcript.Response, error) {
	var got struct {
		Text     *string `json:"text"`
		Language string  `json:"language"`
		Duration float64 `json:"duration"`
		Words    []struct {
			Text  string  `json:"text"`
			Start float64 `json:"start"`
			End   float64 `json:"end"`
		} `json:"words"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, transcript.Malformed(err)
	}
	if got.Text == nil {
		return nil, transcript.Malformed(errNone)
	}
	res := &transcript.Response{Text: *got.Text, Language: got.Language}
	res.Heard(got.Duration)
	for _, w := range got.Words {
		res.Words = append(res.Words, transcript.Word{Text: w.Text, Start: w.Start, End: w.End})
	}
	return res, nil
}
