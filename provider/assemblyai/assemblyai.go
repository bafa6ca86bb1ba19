// Package assemblyai reads and writes AssemblyAI's transcriptions, partly from memory of its
// API document, and not tried at AssemblyAI: the audio is uploaded, a transcript of it is ordered, and asked for until it is there.
package assemblyai

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/llm/transcript"
	"github.com/conclave-llm/conclave/provider/openai"
)

// RowSpeech is the row of the table of providers that transcribes.
const RowSpeech = "assemblyai_speech"

// Row is the row that serves a model: those that transcribe have names that no conversation has.
func Row(model string) string {
	for _, name := range []string{"universal", "slam", "best", "nano"} {
		if strings.HasPrefix(model, name) {
			return RowSpeech
		}
	}
	return ""
}

// Codec is the format of transcriptions.
type Codec struct{ compatible openai.Codec }

// Path is where the audio is uploaded.
func (Codec) Path(llm.Place) string { return "/v2/upload" }

// Read reads a whole answer, which says what it used where it is translated.
func (Codec) Read(_ llm.Endpoint, body []byte) (llm.Report, error) { return embed.Report(body, "") }

// Meter is nil: nothing is streamed.
func (Codec) Meter(llm.Endpoint) llm.Meter { return nil }

// Frames is nil, likewise.
func (Codec) Frames(llm.Endpoint, io.Reader, int) llm.EventReader { return nil }

// Classify makes the error of an answer: {"error":"text"}.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	return c.compatible.Classify(now, status, h, body)
}

// Listen is the form of transcriptions.
type Listen struct{}

// EncodeRequest writes the upload of the audio.
func (Listen) EncodeRequest(req *transcript.Request, t *llm.Target) (*llm.Sent, error) {
	if req.Temperature != "" {
		t.Drop("temperature")
	}
	req.Texts(t, options...)
	return &llm.Sent{Pieces: [][]byte{req.File}, Type: "application/octet-stream", Path: "/v2/upload"}, nil
}

// options are the further fields that an order may have: true, false, a number or a text.
var options = []string{"speaker_labels", "speakers_expected", "punctuate", "format_text", "disfluencies", "filter_profanity", "multichannel", "keyterms_prompt"}

// pause is how long is waited between two questions.
const pause = 2 * time.Second

// Follow is the request after the answer to the one before: the order, then questions for it, till it
// is finished. nil: the body is the answer.
func (Listen) Follow(req *transcript.Request, t *llm.Target, body []byte) (*llm.Step, error) {
	var got struct {
		URL    string `json:"upload_url"`
		ID     string `json:"id"`
		Status string `json:"status"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, transcript.Malformed(err)
	}
	switch {
	case got.URL != "":
		return &llm.Step{Path: "/v2/transcript", Body: order(req, t, got.URL)}, nil
	case got.Status == "queued" || got.Status == "processing":
		if got.ID == "" {
			return nil, transcript.Malformed(errNone)
		}
		return &llm.Step{Method: http.MethodGet, Path: "/v2/transcript/" + url.PathEscape(got.ID), Wait: pause}, nil
	}
	return nil, nil
}

// order is the order of a transcript.
func order(req *transcript.Request, t *llm.Target, address string) []byte {
	dst := llm.AppendString([]byte(`{"audio_url":`), address)
	dst = append(llm.AppendString(append(llm.AppendKey(dst, "speech_models"), '['), t.Model), ']')
	if req.Language != "" {
		dst = llm.AppendString(llm.AppendKey(dst, "language_code"), req.Language)
	} else {
		dst = append(llm.AppendKey(dst, "language_detection"), "true"...)
	}
	if req.Prompt != "" {
		dst = llm.AppendString(llm.AppendKey(dst, "prompt"), req.Prompt)
	}
	if req.English {
		dst = append(llm.AppendKey(dst, "speech_understanding"), `{"request":{"translation":{"target_languages":["en"]}}}`...)
	}
	for _, m := range req.Extra {
		dst = appendOption(dst, m)
	}
	return append(dst, '}')
}

// appendOption appends a field of the form, whose texts may be any JSON.
func appendOption(dst []byte, m llm.Member) []byte {
	for _, name := range options {
		if name != m.Name {
			continue
		}
		c := llm.NewCursor(m.Value)
		if text := c.Text(); text != "" && json.Valid([]byte(text)) {
			return llm.AppendRaw(llm.AppendKey(dst, name), []byte(text))
		}
		return llm.AppendRaw(llm.AppendKey(dst, name), m.Value)
	}
	return dst
}

var errNone = errors.New("it has no transcript")

// DecodeResponse reads a transcript that is finished. Times are milliseconds there.
func (Listen) DecodeResponse(body []byte) (*transcript.Response, error) {
	var got struct {
		Status   string            `json:"status"`
		Error    string            `json:"error"`
		Text     *string           `json:"text"`
		Language string            `json:"language_code"`
		Seconds  float64           `json:"audio_duration"`
		In       map[string]string `json:"translated_texts"` // by language, where that was ordered
		Words    []struct {
			Text  string  `json:"text"`
			Start float64 `json:"start"`
			End   float64 `json:"end"`
		} `json:"words"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, transcript.Malformed(err)
	}
	if got.Status == "error" {
		return nil, &llm.Error{Kind: llm.Invalid, Code: "transcription_failed", Param: "file", Message: "The provider could not transcribe the audio: " + got.Error}
	}
	if got.Status != "completed" {
		return nil, transcript.Malformed(errNone)
	}
	res := &transcript.Response{Language: got.Language}
	if got.Text != nil { // null is silence
		res.Text = *got.Text
	}
	if english, ok := got.In["en"]; ok {
		res.Text, got.Words = english, nil // whose words have no times
	}
	for _, w := range got.Words {
		res.Words = append(res.Words, transcript.Word{Text: w.Text, Start: w.Start / 1000, End: w.End / 1000})
	}
	res.Heard(got.Seconds)
	return res, nil
}
