// Package riva knows NVIDIA's speech microservices (Riva, NIM), as the references of their HTTP APIs of
// 2026 have them: audio is written down in OpenAI's form, text is spoken in a form of their own.
package riva

import (
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/multipart"
	"github.com/conclave-llm/conclave/llm/speech"
	"github.com/conclave-llm/conclave/provider/openai"
)

// synthesize is the path of what is spoken.
const synthesize = "/audio/synthesize"

// Codec is the services' format.
type Codec struct{ openai.Codec }

// Path is the endpoint's path.
func (c Codec) Path(p llm.Place) string {
	if p.Endpoint == llm.RivaSpeak {
		return synthesize
	}
	return c.Codec.Path(p)
}

// Speak is the form of what is spoken.
type Speak struct{}

// encodings are the services' names of what clients ask for. The first is a WAV file.
var encodings = map[string]string{"": "LINEAR_PCM", "wav": "LINEAR_PCM", "opus": "OGGOPUS"}

// EncodeRequest writes a request for the provider. A voice has its language in its name:
// "Magpie-Multilingual.EN-US.Aria"; which voices there are, the model decides.
func (Speak) EncodeRequest(req *speech.Request, t *llm.Target) (*llm.Sent, error) {
	voice := req.VoiceOf(t)
	if speech.OpenAIVoice(voice) {
		return nil, llm.Unsayable("voice", "The voice must be one of the model's, such as Magpie-Multilingual.EN-US.Aria, or the deployment needs the option voice.")
	}
	encoding, ok := encodings[req.Format]
	if !ok {
		t.Drop("response_format")
		encoding = encodings[""]
	}
	if req.Speed > 0 {
		t.Drop("speed")
	}
	if req.Instructions != "" {
		t.Drop("instructions")
	}
	f := multipart.New()
	f.Field("text", req.Input)
	f.Field("language", language(req, voice))
	if voice != "" {
		f.Field("voice", voice)
	}
	f.Field("encoding", encoding)
	if raw := req.Member("sample_rate_hz"); raw != nil {
		f.Field("sample_rate_hz", string(raw))
	}
	req.DropExtra(t, "language", "sample_rate_hz")
	return &llm.Sent{Pieces: f.Pieces(), Type: f.Type(), Bytes: true}, nil
}

// language is that of the request, or of the voice, or American English.
func language(req *speech.Request, voice string) string {
	if raw := req.Member("language"); raw != nil {
		c := llm.NewCursor(raw)
		if text := c.Text(); text != "" {
			return text
		}
	}
	for part := range strings.SplitSeq(voice, ".") {
		if tongue, country, ok := strings.Cut(part, "-"); ok && len(tongue) == 2 && len(country) == 2 {
			return strings.ToLower(tongue) + "-" + strings.ToUpper(country)
		}
	}
	return "en-US"
}
