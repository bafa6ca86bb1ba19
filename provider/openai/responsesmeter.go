package openai

import (
	"github.com/conclave-llm/conclave/llm"
)

// responsesMeter reads what the gateway must know of a response's events, which are relayed.
type responsesMeter struct{ usage llm.Report }

// Event implements llm.Meter. A response that failed has ended as it should: the client learns of
// it by the event itself. An event of type "error" is an error of the provider's.
func (m *responsesMeter) Event(e llm.Event) (llm.Report, error) {
	c := llm.NewCursor(e.Data)
	if c.Next() != '{' {
		if string(e.Data) == "[DONE]" {
			return llm.Report{Usage: m.usage.Usage, HasUsage: m.usage.HasUsage, Done: true}, nil
		}
		return llm.Report{}, malformed(errShape)
	}
	var r llm.Report
	var kind, response []byte
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "type":
			kind = c.Raw()
		case "delta":
			if text := c.Raw(); len(text) > 2 && text[0] == '"' {
				r.TextBytes = int64(len(text) - 2)
			}
		case "response":
			response = c.Raw()
		default:
			c.Raw()
		}
	}
	if err := c.End(); err != nil {
		return llm.Report{}, malformed(err)
	}
	switch string(kind) {
	case `"response.completed"`, `"response.incomplete"`, `"response.failed"`, `"response.cancelled"`:
		r.Done = true
		if u, ok := llm.ReadUsage(llm.DialectOpenAI, response); ok {
			m.usage.Usage, m.usage.HasUsage = u, true
		}
	case `"error"`:
		r.HasError = true
	}
	r.Usage, r.HasUsage = m.usage.Usage, m.usage.HasUsage
	return r, nil
}
