// Package dashscope knows Alibaba Cloud's Model Studio: OpenAI's format for conversations, and forms of its
// own for pictures and speech, as its API reference of 2026 has them.
package dashscope

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/llm/picture"
	"github.com/conclave-llm/conclave/provider/openai"
)

// Paths of the services that have forms of their own.
const (
	generation  = "/api/v1/services/aigc/multimodal-generation/generation"
	synthesizer = "/api/v1/services/audio/tts/SpeechSynthesizer"
)

// RootOf is the address of an endpoint: what has a form of its own is beside OpenAI's paths, and not
// below them.
func RootOf(e llm.Endpoint, base string) string {
	if e == llm.DashScopeImages || e == llm.DashScopeSpeak {
		return strings.TrimSuffix(base, "/compatible-mode/v1")
	}
	return base
}

// Codec is DashScope's format.
type Codec struct{ openai.Codec }

// Path is the endpoint's path.
func (c Codec) Path(p llm.Place) string {
	switch {
	case p.Endpoint == llm.DashScopeSpeak && synthesizes(p.Model):
		return synthesizer
	case p.Endpoint == llm.DashScopeSpeak, p.Endpoint == llm.DashScopeImages:
		return generation
	}
	return c.Codec.Path(p)
}

// Read reads a whole answer. Some tell of an error though their status is that of a good one.
func (c Codec) Read(e llm.Endpoint, body []byte) (llm.Report, error) {
	if e != llm.DashScopeImages && e != llm.DashScopeSpeak {
		return c.Codec.Read(e, body)
	}
	r, err := embed.Report(body, "") // what was made is counted where it is read
	r.HasError = err == nil && refused(body)
	return r, err
}

// refused says whether a body is {"code":"…","message":"…"}, without an output.
func refused(body []byte) bool {
	var said struct {
		Code   string          `json:"code"`
		Output json.RawMessage `json:"output"`
	}
	return json.Unmarshal(body, &said) == nil && said.Code != "" && said.Output == nil
}

// Meter reads the events of what is spoken; nil for all others.
func (c Codec) Meter(e llm.Endpoint) llm.Meter {
	switch e {
	case llm.DashScopeSpeak:
		return meter{}
	case llm.DashScopeImages:
		return nil
	}
	return c.Codec.Meter(e)
}

// Classify makes the error of an answer: OpenAI's, or {"code":"…","message":"…","request_id":"…"}.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	var said struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &said) != nil || said.Code == "" {
		return c.Codec.Classify(now, status, h, body)
	}
	if strings.HasPrefix(said.Code, "DataInspectionFailed") {
		e, _ := errors.AsType[*llm.Error](picture.Filtered(said.Message))
		return e
	}
	if status < 300 {
		status = statusOf(said.Code)
	}
	e := c.Codec.Classify(now, status, h, body)
	e.Body = nil
	return e
}

// statusOf is the status of an error that came with that of a good answer.
func statusOf(code string) int {
	switch {
	case strings.HasPrefix(code, "Throttling"):
		return http.StatusTooManyRequests
	case code == "InvalidApiKey", code == "AccessDenied", code == "Arrearage":
		return http.StatusUnauthorized
	case strings.HasPrefix(code, "Invalid"), strings.HasPrefix(code, "BadRequest"):
		return http.StatusBadRequest
	}
	return http.StatusBadGateway
}
