// Package polly writes the speech of Amazon Polly, as its API reference of 2026 has SynthesizeSpeech.
package polly

import (
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/llm/speech"
	"github.com/conclave-llm/conclave/provider/openai"
)

// Codec is Polly's format.
type Codec struct{ compatible openai.Codec }

// Path is the operation's.
func (Codec) Path(llm.Place) string { return "/v1/speech" }

// Read reads a whole answer.
func (Codec) Read(_ llm.Endpoint, body []byte) (llm.Report, error) { return embed.Report(body, "") }

// Meter is nil: nothing is streamed in events.
func (Codec) Meter(llm.Endpoint) llm.Meter { return nil }

// Frames is nil, likewise.
func (Codec) Frames(llm.Endpoint, io.Reader, int) llm.EventReader { return nil }

// Classify makes the error of an answer: {"message":"text"}, whose kind stands in a header.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	e := c.compatible.Classify(now, status, h, body)
	kind, _, _ := strings.Cut(h.Get("X-Amzn-Errortype"), ":")
	if kind == "ThrottlingException" {
		e.Kind, e.Status, e.Code = llm.RateLimited, http.StatusTooManyRequests, "rate_limit_exceeded"
	}
	return e
}

// Speech is the form of speech.
type Speech struct{}

// formats are Polly's names of what clients ask for, with the samples a second where they count.
var formats = map[string]string{"": `"mp3"`, "mp3": `"mp3"`, "opus": `"ogg_opus"`, "pcm": `"pcm"`}

// EncodeRequest writes a request for the provider. A model is an engine: standard, neural, long-form or
// generative.
func (Speech) EncodeRequest(req *speech.Request, t *llm.Target) (*llm.Sent, error) {
	voice := req.VoiceOf(t)
	if voice == "" || speech.OpenAIVoice(voice) {
		return nil, llm.Unsayable("voice", "The voice must be one of Polly's, such as Joanna, or the deployment needs the option voice.")
	}
	format, ok := formats[req.Format]
	if !ok {
		t.Drop("response_format")
		format = formats[""]
	}
	if req.Speed > 0 {
		t.Drop("speed")
	}
	if req.Instructions != "" {
		t.Drop("instructions")
	}
	dst := llm.AppendString([]byte(`{"Engine":`), t.Model)
	dst = append(llm.AppendKey(dst, "OutputFormat"), format...)
	dst = llm.AppendString(llm.AppendKey(dst, "Text"), req.Input)
	dst = llm.AppendString(llm.AppendKey(dst, "VoiceId"), voice)
	known := []string{"LanguageCode", "LexiconNames", "SampleRate", "TextType"}
	for _, name := range known {
		if raw := req.Member(name); raw != nil {
			dst = llm.AppendRaw(llm.AppendKey(dst, name), raw)
		}
	}
	req.DropExtra(t, known...)
	return &llm.Sent{Body: append(dst, '}'), Bytes: true}, nil
}
