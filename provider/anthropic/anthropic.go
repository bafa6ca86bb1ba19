// Package anthropic reads and writes Anthropic's messages: what a client of it asks and what a
// provider of it answers, whole or as a stream. Its form is Anthropic's public API reference of
// 2026. Between a client and a provider that both speak it nothing here but Codec runs.
package anthropic

import (
	"io"
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/llm"
)

// Version is what the header anthropic-version says, of the only version there is.
const Version = "2023-06-01"

// origin names the dialect in parts that only it understands.
var origin = llm.Messages.String()

// Format is the dialect: provider.Inbound and provider.Outbound. It has no state.
type Format struct{}

// Codec is what the relay must know of the dialect.
type Codec struct{}

// Path is the endpoint's path. The model stands in the body.
func (Codec) Path(p llm.Place) string {
	if p.Endpoint == llm.CountTokens {
		return "/v1/messages/count_tokens"
	}
	return "/v1/messages"
}

// Read reads a whole answer. A count of tokens uses none.
func (Codec) Read(e llm.Endpoint, body []byte) (llm.Report, error) {
	var r llm.Report
	c := llm.NewCursor(body)
	if c.Next() != '{' {
		return r, notJSON(body)
	}
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "error":
			v := c.Raw()
			r.HasError = string(v) != "null"
		case "content":
			for m := 0; c.Element(m); m++ {
				r.TextBytes += blockText(&c)
			}
		case "stop_reason":
			if v := c.Raw(); string(v) != "null" {
				r.Finished = 1
			}
			r.Seen = 1
		default:
			c.Raw()
		}
	}
	if c.End() != nil {
		return llm.Report{}, notJSON(body)
	}
	if e != llm.CountTokens {
		r.Usage, r.HasUsage = llm.ReadUsage(llm.DialectAnthropic, body)
	}
	return r, nil
}

// blockText is the size of what the model wrote in a block, or in a delta of one.
func blockText(c *llm.Cursor) (size int64) {
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "text", "thinking", "partial_json":
			size += max(0, int64(len(c.Raw()))-2)
		case "input":
			if v := c.Raw(); string(v) != "{}" {
				size += int64(len(v))
			}
		default:
			c.Raw()
		}
	}
	return size
}

// notJSON is the error of an answer that cannot be read.
func notJSON(body []byte) error {
	message := "The provider sent something that is not a message."
	if len(body) == 0 {
		message = "The provider sent nothing."
	}
	return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: message}
}

// Meter reads the events of one stream.
func (Codec) Meter(llm.Endpoint) llm.Meter {
	return &meter{usage: llm.UsageMeter{Dialect: llm.DialectAnthropic}}
}

// Frames is nil: streams are server-sent events.
func (Codec) Frames(llm.Endpoint, io.Reader, int) llm.EventReader { return nil }

// Classify makes the error of an answer.
func (Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	return classify(now, status, h, body)
}

// meter reads what the gateway must know of a stream's events.
type meter struct{ usage llm.UsageMeter }

// Event reads one event.
func (m *meter) Event(e llm.Event) (llm.Report, error) {
	var r llm.Report
	c := llm.NewCursor(e.Data)
	if c.Next() != '{' {
		return r, notJSON(e.Data)
	}
	ends, usage := "", false
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "type":
			switch string(c.Raw()) {
			case `"error"`:
				r.HasError = true
			case `"message_stop"`:
				ends = "message"
			}
		case "error":
			r.HasError = string(c.Raw()) != "null" || r.HasError
		case "delta":
			text, finished := delta(&c)
			r.TextBytes += text
			if finished {
				r.Finished = 1
			}
		case "message", "usage":
			usage = true
			c.Raw()
		default:
			c.Raw()
		}
	}
	if c.End() != nil {
		return llm.Report{}, notJSON(e.Data)
	}
	r.Seen, r.Done = 1, ends != ""
	if usage {
		r.Usage, r.HasUsage = m.usage.Add(e.Data)
	}
	return r, nil
}

// delta reads what an event adds to a block, or to the message.
func delta(c *llm.Cursor) (text int64, finished bool) {
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "text", "thinking", "partial_json":
			text += max(0, int64(len(c.Raw()))-2)
		case "stop_reason":
			finished = string(c.Raw()) != "null"
		default:
			c.Raw()
		}
	}
	return text, finished
}
