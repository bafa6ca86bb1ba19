package plain

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/openai"
)

// Reader reads a whole answer, or the data of one event. Errors are *llm.Error of kind Upstream.
type Reader func(data []byte) (*Piece, error)

// Codec is all of a provider's codec but its paths, for one whose answers and events are pieces and
// whose errors are like those of others. Its fields are as in a Decoder.
type Codec struct {
	Reader Reader
	Marked bool
	Adds   Adds

	compatible openai.Codec
}

// Read reads a whole answer.
func (c Codec) Read(_ llm.Endpoint, body []byte) (llm.Report, error) {
	p, err := c.Reader(body)
	if err != nil {
		return llm.Report{}, err
	}
	return p.Report(), nil
}

// Meter reads a stream.
func (c Codec) Meter(llm.Endpoint) llm.Meter { return &meter{read: c.Reader, adds: c.Adds} }

// Frames is nil: streams are server-sent events.
func (Codec) Frames(llm.Endpoint, io.Reader, int) llm.EventReader { return nil }

// Classify makes the error of an answer.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	return c.compatible.Classify(now, status, h, body)
}

// DecodeResponse reads a whole answer.
func (c Codec) DecodeResponse(body []byte) (*chat.Response, error) {
	p, err := c.Reader(body)
	if err != nil {
		return nil, err
	}
	return p.Response()
}

// NewDecoder reads one stream.
func (c Codec) NewDecoder() chat.Decoder {
	return &Decoder{Read: c.Reader, Marked: c.Marked, Adds: c.Adds}
}

// meter reads of a stream of pieces what the relay must know.
type meter struct {
	read  Reader
	adds  Adds
	usage llm.Usage
}

// Event implements llm.Meter.
func (m *meter) Event(e llm.Event) (llm.Report, error) {
	if string(e.Data) == "[DONE]" {
		return llm.Report{Done: true}, nil
	}
	p, err := m.read(e.Data)
	if err != nil {
		return llm.Report{}, err
	}
	r := p.Report()
	if r.HasUsage {
		m.usage = m.adds.with(m.usage, r.Usage)
		r.Usage = m.usage
	}
	return r, nil
}

// Adds says how the usage of a stream's events is taken together.
type Adds uint8

// The ways. The zero value is Latest.
const (
	Latest Adds = iota // an event tells a part, or all so far: the larger of each number
	Sums               // each event tells what is new
)

func (w Adds) with(a, b llm.Usage) llm.Usage {
	join := func(x, y int64) int64 { return max(x, y) }
	if w == Sums {
		join = func(x, y int64) int64 { return min(x+y, llm.MaxTokenCount) }
	}
	a.Input, a.Output = join(a.Input, b.Input), join(a.Output, b.Output)
	a.Source = b.Source
	return a
}

// Used is the usage that a provider counts in two numbers, either of which may be missing; what is
// not there counts as 0, and nothing at all as no usage.
func Used(input, output *int64) llm.Usage {
	if input == nil && output == nil {
		return llm.Usage{}
	}
	return llm.Usage{Input: count(input), Output: count(output), Source: llm.UsageProvider}
}

func count(n *int64) int64 {
	if n == nil {
		return 0
	}
	return max(0, min(*n, llm.MaxTokenCount))
}

// Content reads what a message holds: a text, or a list of blocks, of which those of type text count.
// false: it is neither.
func Content(raw json.RawMessage) (text string, ok bool) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", false
	}
	if json.Unmarshal(raw, &text) == nil {
		return text, true
	}
	var blocks []json.RawMessage
	if json.Unmarshal(raw, &blocks) != nil {
		return "", false
	}
	var b strings.Builder
	for _, one := range blocks {
		var block struct {
			Type string `json:"type"`
			Text string `json:"text"`
		}
		switch {
		case json.Unmarshal(one, &text) == nil:
			b.WriteString(text)
		case json.Unmarshal(one, &block) == nil && block.Type == "text":
			b.WriteString(block.Text)
		}
	}
	return b.String(), true
}

// Role is the role of a message in the three names that all know.
func Role(r chat.Role) string {
	switch r {
	case chat.RoleAssistant:
		return "assistant"
	case chat.RoleSystem, chat.RoleDeveloper:
		return "system"
	}
	return "user"
}
