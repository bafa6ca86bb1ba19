// Package soniox reads and writes Soniox's transcriptions and translations of files, as its API document
// of 2026 has them, and knows where its live transcriptions are: the audio is uploaded, a transcription of it is ordered and asked for until it is
// there, and both are removed in the end.
package soniox

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
	"github.com/conclave-llm/conclave/llm/multipart"
	"github.com/conclave-llm/conclave/llm/transcript"
	"github.com/conclave-llm/conclave/provider/openai"
)

// Paths of the service.
const (
	files          = "/v1/files"
	transcriptions = "/v1/transcriptions"
)

// Codec is Soniox's format.
type Codec struct{ compatible openai.Codec }

// Path is where the audio is uploaded, or heard live.
func (Codec) Path(p llm.Place) string {
	if p.Endpoint == llm.SonioxLive {
		return "/transcribe-websocket"
	}
	return files
}

// RootOf is the address of an endpoint: what is heard live is so by another host of each region
// (stt-rt.soniox.com beside api.soniox.com).
func RootOf(e llm.Endpoint, base string) string {
	host, ours := strings.CutPrefix(base, "https://api.")
	if name, _, _ := strings.Cut(host, "/"); e == llm.SonioxLive && ours && (name == "soniox.com" || strings.HasSuffix(name, ".soniox.com")) {
		return "https://stt-rt." + name
	}
	return base
}

// Read reads a whole answer, which says what it used where it is translated.
func (Codec) Read(_ llm.Endpoint, body []byte) (llm.Report, error) { return embed.Report(body, "") }

// Meter is nil: nothing is streamed.
func (Codec) Meter(llm.Endpoint) llm.Meter { return nil }

// Frames is nil, likewise.
func (Codec) Frames(llm.Endpoint, io.Reader, int) llm.EventReader { return nil }

// Classify makes the error of an answer: {"status_code":400,"error_type":"…","message":"text"}.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	var said struct {
		Type    string `json:"error_type"`
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &said) != nil || said.Message == "" {
		return c.compatible.Classify(now, status, h, body)
	}
	raw := llm.AppendString([]byte(`{"error":{"message":`), said.Message)
	raw = llm.AppendString(append(raw, `,"code":`...), said.Type)
	e := c.compatible.Classify(now, status, h, append(raw, "}}"...))
	e.Body = nil
	return e
}

// Listen is the form of transcriptions.
type Listen struct{}

// EncodeRequest writes the upload of the audio.
func (Listen) EncodeRequest(req *transcript.Request, t *llm.Target) (*llm.Sent, error) {
	if req.Temperature != "" {
		t.Drop("temperature")
	}
	req.Texts(t, options...)
	f := multipart.New()
	f.File("file", req.Name, req.Type, req.File)
	return &llm.Sent{Pieces: f.Pieces(), Type: f.Type(), Path: files}, nil
}

// options are the further fields that an order may have, which are true or false.
var options = []string{"enable_speaker_diarization", "enable_language_identification"}

// pause is how long is waited between two questions.
const pause = time.Second

// job is an upload, or a transcription that was ordered. The transcript itself has no status.
type job struct {
	ID       string  `json:"id"`
	Status   string  `json:"status"`
	Error    string  `json:"error_message"`
	FileName *string `json:"filename"`
}

// Follow is the request after the answer to the one before. nil: the body is the answer.
func (Listen) Follow(req *transcript.Request, t *llm.Target, body []byte) (*llm.Step, error) {
	var got job
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, transcript.Malformed(err)
	}
	at := transcriptions + "/" + url.PathEscape(got.ID)
	switch {
	case got.Status == "" && got.FileName == nil, got.Status == "error":
		return nil, nil
	case got.ID == "":
		return nil, transcript.Malformed(errNone)
	case got.Status == "":
		return &llm.Step{Path: transcriptions, Body: order(req, t, got.ID), Remove: []string{files + "/" + url.PathEscape(got.ID)}}, nil
	case got.Status == "completed":
		return &llm.Step{Method: http.MethodGet, Path: at + "/transcript", Remove: []string{at}}, nil
	}
	return &llm.Step{Method: http.MethodGet, Path: at, Wait: pause, Remove: []string{at}}, nil
}

// order is the order of a transcription.
func order(req *transcript.Request, t *llm.Target, file string) []byte {
	dst := llm.AppendString([]byte(`{"model":`), t.Model)
	dst = llm.AppendString(llm.AppendKey(dst, "file_id"), file)
	if req.Language != "" {
		dst = append(llm.AppendString(append(llm.AppendKey(dst, "language_hints"), '['), req.Language), ']')
	}
	if req.Prompt != "" {
		dst = llm.AppendString(llm.AppendKey(dst, "context"), req.Prompt)
	}
	if req.English {
		dst = append(llm.AppendKey(dst, "translation"), `{"type":"one_way","target_language":"en"}`...)
	}
	said := req.Texts(&llm.Target{}, options...)
	for _, name := range options {
		if v := said[name]; v == "true" || v == "false" {
			dst = append(llm.AppendKey(dst, name), v...)
		}
	}
	return append(dst, '}')
}

var errNone = errors.New("it has no transcript")

// token is a piece of a word, which begins with a space where it begins one.
type token struct {
	Text   string  `json:"text"`
	Start  float64 `json:"start_ms"`
	End    float64 `json:"end_ms"`
	Status string  `json:"translation_status"` // "original", "translation" or "none"; "": none was ordered
}

// DecodeResponse reads a transcript. Of one that was translated the text is that of the translation,
// and of what needed none. How long the audio was, the last token's end says at least.
func (Listen) DecodeResponse(body []byte) (*transcript.Response, error) {
	var got struct {
		job
		Text   *string `json:"text"`
		Tokens []token `json:"tokens"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, transcript.Malformed(err)
	}
	if got.Status == "error" {
		return nil, &llm.Error{Kind: llm.Invalid, Code: "transcription_failed", Param: "file", Message: "The provider could not transcribe the audio: " + got.Error}
	}
	if got.Text == nil {
		return nil, transcript.Malformed(errNone)
	}
	res := &transcript.Response{Text: *got.Text}
	var english strings.Builder
	translated := false
	for _, one := range got.Tokens {
		res.Duration = max(res.Duration, one.End/1000)
		translated = translated || one.Status == "translation"
		if one.Status == "translation" || one.Status == "none" {
			english.WriteString(one.Text)
		}
		addWord(res, &one)
	}
	if translated {
		res.Text, res.Words = strings.TrimSpace(english.String()), nil
	}
	return res, nil
}

// addWord adds a piece to the words.
func addWord(res *transcript.Response, one *token) {
	text, begins := strings.CutPrefix(one.Text, " ")
	n := len(res.Words)
	if text == "" || one.Status == "translation" {
		return
	}
	if n == 0 || begins {
		res.Words = append(res.Words, transcript.Word{Text: text, Start: one.Start / 1000, End: one.End / 1000})
		return
	}
	res.Words[n-1].Text += text
	res.Words[n-1].End = one.End / 1000
}
