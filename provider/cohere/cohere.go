// Package cohere reads and writes the second version of Cohere's conversations, embeddings and documents.
package cohere

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/provider/openai"
)

// statusToken is Cohere's own status for a key that it does not know or has blocked.
const statusToken = 498

// Codec is Cohere's format.
type Codec struct{ compatible openai.Codec }

// Path is the endpoint's path. The model stands in the body.
func (Codec) Path(p llm.Place) string {
	if p.Endpoint == llm.Rerank {
		return "/rerank"
	}
	switch p.Endpoint {
	case llm.CohereEmbed:
		return "/embed"
	case llm.CohereParse:
		return "/parse"
	}
	return "/chat"
}

// Read reads a whole answer.
func (Codec) Read(e llm.Endpoint, data []byte) (llm.Report, error) {
	if e == llm.Rerank {
		return llm.ReadAt(e, data)
	}
	switch e {
	case llm.CohereEmbed:
		return readEmbed(data)
	case llm.CohereParse:
		return embed.Report(data, "") // what was read is counted where it is
	}
	c := llm.NewCursor(data)
	r := llm.Report{Seen: 1}
	if c.Next() != '{' {
		return r, malformed(errors.New("it is no JSON object"))
	}
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "finish_reason":
			if reason := c.Text(); reason != "" {
				r.Finished, r.HasError = 1, failed(reason)
			}
		case "message":
			v := delta{}
			v.message(&c)
			r.TextBytes = v.size()
		default:
			c.Raw()
		}
	}
	if err := c.End(); err != nil {
		return llm.Report{}, malformed(err)
	}
	r.Usage, r.HasUsage = llm.ReadUsage(llm.DialectCohere, data)
	return r, nil
}

// Meter reads the events of a conversation.
func (Codec) Meter(llm.Endpoint) llm.Meter { return meter{} }

// meter reads events, of which the last has the usage.
type meter struct{}

// Event implements llm.Meter.
func (meter) Event(e llm.Event) (llm.Report, error) {
	if string(e.Data) == "[DONE]" {
		return llm.Report{Done: true}, nil
	}
	v, err := readEvent(e.Data)
	if err != nil {
		return llm.Report{}, err
	}
	r := llm.Report{TextBytes: v.size(), Seen: 1}
	if v.kind == "message-end" {
		r.Done, r.Finished, r.HasError = true, 1, failed(v.reason)
		r.Usage, r.HasUsage = llm.ReadUsage(llm.DialectCohere, v.raw)
	}
	return r, nil
}

// Frames is nil: streams are server-sent events.
func (Codec) Frames(llm.Endpoint, io.Reader, int) llm.EventReader { return nil }

// Classify makes the error of an answer: {"message": "text"}, or that of a good status whose answer could
// not be finished.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	if v, err := unfinished(body); status < 300 && err == nil && failed(v.reason) {
		return failure(v.reason, v.failure)
	}
	if status == statusToken {
		status = http.StatusUnauthorized
	}
	return c.compatible.Classify(now, status, h, body)
}

func malformed(err error) error {
	return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent an answer that cannot be read.", Err: err}
}
