// Package deepgram reads and writes Deepgram's speech (/speak) and transcriptions (/listen), as its
// reference of 2026 has them. What is asked stands in the query, and the body is the text, or the
// audio as it is.
package deepgram

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/llm/speech"
	"github.com/conclave-llm/conclave/llm/transcript"
	"github.com/conclave-llm/conclave/provider/openai"
)

// Codec is Deepgram's format.
type Codec struct{ compatible openai.Codec }

// Path is the endpoint's path, without what is asked.
func (Codec) Path(p llm.Place) string {
	if p.Endpoint == llm.DeepgramSpeak {
		return "/speak"
	}
	return "/listen"
}

// Read reads a whole answer, which says what it used where it is translated.
func (Codec) Read(_ llm.Endpoint, body []byte) (llm.Report, error) { return embed.Report(body, "") }

// Meter is nil: nothing is streamed in events.
func (Codec) Meter(llm.Endpoint) llm.Meter { return nil }

// Frames is nil, likewise.
func (Codec) Frames(llm.Endpoint, io.Reader, int) llm.EventReader { return nil }

// Classify makes the error of an answer: {"err_code":"…","err_msg":"…","request_id":"…"}.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	var said struct {
		Code    string `json:"err_code"`
		Message string `json:"err_msg"`
	}
	if json.Unmarshal(body, &said) != nil || said.Message == "" {
		return c.compatible.Classify(now, status, h, body)
	}
	raw := llm.AppendString([]byte(`{"error":{"message":`), said.Message)
	raw = llm.AppendString(append(raw, `,"code":`...), strings.ToLower(said.Code))
	e := c.compatible.Classify(now, status, h, append(raw, "}}"...))
	e.Body = nil
	return e
}

// Speak is the form of speech.
type Speak struct{}

// formats are what of the query says how the audio is written.
var formats = map[string]string{
	"": "encoding=mp3", "mp3": "encoding=mp3", "opus": "encoding=opus&container=ogg", "aac": "encoding=aac", "flac": "encoding=flac",
	"wav": "encoding=linear16&container=wav", "pcm": "encoding=linear16&container=none&sample_rate=24000",
}

// EncodeRequest writes a request for the provider. Its models are voices: "aura-2-thalia-en".
func (Speak) EncodeRequest(req *speech.Request, t *llm.Target) (*llm.Sent, error) {
	model := t.Model
	switch voice := req.VoiceOf(t); {
	case strings.HasPrefix(voice, "aura"):
		model = voice
	case voice != "" && !speech.OpenAIVoice(voice):
		t.Drop("voice")
	}
	format, ok := formats[req.Format]
	if !ok {
		t.Drop("response_format")
		format = formats[""]
	}
	query := "model=" + url.QueryEscape(model) + "&" + format
	if req.Speed > 0 {
		query += "&speed=" + strconv.FormatFloat(req.Speed, 'g', -1, 64)
	}
	if req.Instructions != "" {
		t.Drop("instructions")
	}
	req.DropExtra(t)
	body := append(llm.AppendString([]byte(`{"text":`), req.Input), '}')
	return &llm.Sent{Body: body, Path: "/speak?" + query, Bytes: true}, nil
}

// Listen is the form of transcriptions.
type Listen struct{}

// options are the further fields that are options of the query.
var options = []string{
	"smart_format", "punctuate", "diarize", "detect_language", "keyterm", "keywords", "utterances", "paragraphs", "numerals",
	"profanity_filter", "redact", "filler_words", "multichannel", "dictation", "measurements", "tag", "mip_opt_out", "version",
}

// EncodeRequest writes a request for the provider: the file is the body as it is.
func (Listen) EncodeRequest(req *transcript.Request, t *llm.Target) (*llm.Sent, error) {
	query := url.Values{"model": {t.Model}, "smart_format": {"true"}}
	if req.Language != "" {
		query.Set("language", req.Language)
	}
	if req.Prompt != "" {
		t.Drop("prompt")
	}
	if req.Temperature != "" {
		t.Drop("temperature")
	}
	for name, value := range req.Texts(t, options...) {
		query.Set(name, value)
	}
	kind := req.Type
	if kind == "" {
		kind = "application/octet-stream"
	}
	return &llm.Sent{Pieces: [][]byte{req.File}, Type: kind, Path: "/listen?" + query.Encode()}, nil
}

var errNone = errors.New("it has no transcript")

// DecodeResponse reads an answer, of which the first channel's best reading counts.
func (Listen) DecodeResponse(body []byte) (*transcript.Response, error) {
	var got struct {
		Metadata struct {
			Duration float64 `json:"duration"`
		} `json:"metadata"`
		Results struct {
			Channels []struct {
				Language     string `json:"detected_language"`
				Alternatives []struct {
					Transcript string `json:"transcript"`
					Words      []struct {
						Word       string  `json:"word"`
						Punctuated string  `json:"punctuated_word"`
						Start      float64 `json:"start"`
						End        float64 `json:"end"`
					} `json:"words"`
				} `json:"alternatives"`
			} `json:"channels"`
		} `json:"results"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, transcript.Malformed(err)
	}
	if len(got.Results.Channels) == 0 || len(got.Results.Channels[0].Alternatives) == 0 {
		return nil, transcript.Malformed(errNone)
	}
	channel := got.Results.Channels[0]
	best := channel.Alternatives[0]
	res := &transcript.Response{Text: best.Transcript, Language: channel.Language}
	for _, w := range best.Words {
		text := w.Punctuated
		if text == "" {
			text = w.Word
		}
		res.Words = append(res.Words, transcript.Word{Text: text, Start: w.Start, End: w.End})
	}
	res.Heard(got.Metadata.Duration)
	return res, nil
}
