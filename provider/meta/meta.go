// Package meta knows Meta's Model API: OpenAI's format, and a form of its own for transcriptions of files
// (/asr/transcribe) and of what is heard live (/asr/realtime), as its API reference of September 2026 has them.
package meta

import (
	"encoding/json"
	"errors"
	"math"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/llm/multipart"
	"github.com/conclave-llm/conclave/llm/transcript"
	"github.com/conclave-llm/conclave/provider/openai"
)

// Codec is Meta's format.
type Codec struct{ openai.Codec }

// Path is the endpoint's path.
func (c Codec) Path(p llm.Place) string {
	switch p.Endpoint {
	case llm.MetaListen:
		return "/asr/transcribe"
	case llm.MetaLive:
		return "/asr/realtime"
	}
	return c.Codec.Path(p)
}

// Read reads a whole answer.
func (c Codec) Read(e llm.Endpoint, body []byte) (llm.Report, error) {
	if e == llm.MetaListen {
		return embed.Report(body, "") // what it used is read with what it heard
	}
	return c.Codec.Read(e, body)
}

// languages are Meta's names of those that it can be told to expect, by ISO 639-1.
var languages = map[string]string{
	"ar": "Arabic", "bn": "Bengali", "de": "German", "en": "English", "es": "Spanish", "fr": "French", "he": "Hebrew", "hi": "Hindi",
	"id": "Indonesian", "it": "Italian", "ja": "Japanese", "kn": "Kannada", "ko": "Korean", "mr": "Marathi", "ms": "Malay", "nl": "Dutch",
	"pl": "Polish", "pt": "Portuguese", "ta": "Tamil", "te": "Telugu", "th": "Thai", "tl": "Tagalog", "tr": "Turkish", "vi": "Vietnamese",
	"zh": "Mandarin Chinese",
}

// Language is Meta's name of a language ("en", "en-US"), "" if it has none.
func Language(code string) string {
	code, _, _ = strings.Cut(strings.ToLower(code), "-")
	return languages[code]
}

// Listen is the form of transcriptions of files. The file must be WAV: 16 bits, one channel, 16 or 24 kHz.
type Listen struct{}

// order is what is wanted of a file.
type order struct {
	Model    string   `json:"model"`
	Encoding string   `json:"audioEncoding"`
	Mode     string   `json:"mode"`
	Expect   []string `json:"languageBias,omitempty"`
	Keywords []string `json:"keywords,omitempty"`
}

// EncodeRequest writes a form of an order and the file. The fields mode ("PUSH_TO_TALK", "ENDPOINTING" or
// "DIARIZATION") and keywords, which are parted by commas, are Meta's own.
func (Listen) EncodeRequest(req *transcript.Request, t *llm.Target) (*llm.Sent, error) {
	if req.Prompt != "" {
		t.Drop("prompt")
	}
	if req.Temperature != "" {
		t.Drop("temperature")
	}
	said := req.Texts(t, "mode", "keywords")
	o := order{Model: t.Model, Encoding: "WAV", Mode: "PUSH_TO_TALK"}
	if req.Segments || req.Words || req.Format == "srt" || req.Format == "vtt" {
		o.Mode = "ENDPOINTING" // which has the times of turns
	}
	if mode := said["mode"]; mode != "" {
		o.Mode = mode
	}
	if name := Language(req.Language); name != "" {
		o.Expect = []string{name}
	} else if req.Language != "" {
		t.Drop("language")
	}
	for word := range strings.SplitSeq(said["keywords"], ",") {
		if word = strings.TrimSpace(word); word != "" {
			o.Keywords = append(o.Keywords, word)
		}
	}
	raw, err := json.Marshal(&o)
	if err != nil {
		return nil, &llm.Error{Kind: llm.Internal, Message: "A request could not be written.", Err: err}
	}
	f := multipart.New()
	f.File("request", "request.json", "application/json", raw)
	f.File("audio", req.Name, "audio/wav", req.File)
	return &llm.Sent{Pieces: f.Pieces(), Type: f.Type()}, nil
}

var errNone = errors.New("it has no transcript")

// DecodeResponse reads an answer.
func (Listen) DecodeResponse(body []byte) (*transcript.Response, error) {
	var got struct {
		Text     *string `json:"transcript"`
		Duration float64 `json:"audioDurationMs"`
		Turns    []struct {
			Text  string  `json:"transcript"`
			Start float64 `json:"startMs"`
			End   float64 `json:"endMs"`
		} `json:"turns"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, transcript.Malformed(err)
	}
	if got.Text == nil {
		return nil, transcript.Malformed(errNone)
	}
	res := &transcript.Response{Text: *got.Text}
	res.Heard(math.Floor(got.Duration) / 1000)
	for _, one := range got.Turns {
		res.Segments = append(res.Segments, transcript.Segment{Text: one.Text, Start: one.Start / 1000, End: one.End / 1000})
	}
	return res, nil
}
