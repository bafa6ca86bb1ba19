// Package openai reads and writes OpenAI's format, which the compatible vendors share and
// which the gateway relays byte for byte, and translates its three dialects of conversations:
// Chat, Completions and Responses. They stand in one package, larger than others, because they
// share the readers and writers of messages, media, tools and usage.
package openai

import (
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/conclave-llm/conclave/llm"
)

// paths follow the base URL, which ends in /v1 or what stands for it at another vendor.
var paths = [...]string{
	llm.Chat:        "/chat/completions",
	llm.Completions: "/completions",
	llm.Embeddings:  "/embeddings",
	llm.Responses:   "/responses",

	llm.InputTokens:     "/responses/input_tokens",
	llm.Moderations:     "/moderations",
	llm.Images:          "/images/generations",
	llm.ImageEdits:      "/images/edits",
	llm.ImageVariations: "/images/variations",
	llm.Speech:          "/audio/speech",
	llm.Transcriptions:  "/audio/transcriptions",
	llm.Translations:    "/audio/translations",
	llm.Rerank:          "/rerank",
	llm.OCR:             "/ocr",
	llm.Decisions:       "/decisions",
	llm.SystemOne:       "/systemone",
	llm.Extraction:      "/extraction",
}

// Codec is OpenAI's format.
type Codec struct{}

// Path is the endpoint's path. The model stands in the body, but for sessions, which have none.
// Embeddings in all forms that are like OpenAI's have one, and so have rerankings in forms that are
// like Cohere's.
func (Codec) Path(p llm.Place) string {
	if p.Endpoint == llm.Realtime {
		return "/realtime?model=" + url.QueryEscape(p.Model)
	}
	if p.Endpoint.Family() == llm.FamilyEmbedding {
		return paths[llm.Embeddings]
	}
	if p.Endpoint.Family() == llm.FamilyRanking {
		return paths[llm.Rerank]
	}
	return paths[p.Endpoint]
}

// Read reads a response or a chunk.
func (Codec) Read(e llm.Endpoint, data []byte) (llm.Report, error) { return llm.ReadAt(e, data) }

// Meter is nil but for responses and media: Read reads each chunk.
func (Codec) Meter(e llm.Endpoint) llm.Meter {
	switch {
	case e == llm.Responses:
		return new(responsesMeter)
	case e.Family() == llm.FamilyMedia:
		return &llm.MediaMeter{Endpoint: e}
	}
	return nil
}

// Frames is nil: streams are server-sent events.
func (Codec) Frames(llm.Endpoint, io.Reader, int) llm.EventReader { return nil }

// Classify makes the error of an answer. Its kind decides whether another deployment is tried:
// a key that the provider refuses, an empty account there and a wrong address are faults of the
// deployment, not of the client. They become errors of kind Upstream, and what the provider
// says about them, which may hold parts of the key, is left to the log.
//
// A status below 300 means that the error came in the body of a good answer.
func (Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	f := llm.ParseError(body)
	if status < 300 || status > 599 {
		status = statusOf(f)
	}
	e := &llm.Error{
		Kind: kind(status, f), Status: status, Type: f.Type, Code: f.Code, Param: f.Param,
		Message: f.Message, Body: body, Header: keep(h), NoRetry: h.Get("X-Should-Retry") == "false",
	}
	if e.Kind == llm.Invalid {
		e.Code = refine(f)
	}
	if e.Kind == llm.RateLimited || e.Kind >= llm.Unavailable {
		e.RetryAfter = RetryAfter(now, h)
	}
	if e.Message == "" {
		e.Message = "The provider answered with an error."
	}
	if ours(status, f) {
		return hide(e)
	}
	if f == (llm.ErrorFields{}) || f.Detailed {
		e.Body = nil // a proxy's page rather than the provider's own words, or such as clients do not read
	}
	return e
}
