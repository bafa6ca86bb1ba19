// Package bedrock reads and writes the dialect of Amazon Bedrock's Converse: what a client of it
// asks and what Bedrock answers, whole or in the frames of Amazon's event stream. Its form is the
// public API reference of Bedrock's runtime of 2026. It also knows where InvokeModel is, and how
// the frames of its streams hold the events of Anthropic's messages.
package bedrock

import (
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/provider/anthropic"
)

// origin names the dialect in parts that only it understands.
var origin = llm.Converse.String()

// Format is the dialect: provider.Inbound and provider.Outbound. It has no state.
type Format struct{}

// Codec is what the relay must know of Bedrock: of Converse, of InvokeModel with a body of
// Anthropic's messages, and of InvokeModel as clients ask it themselves, in any maker's words.
type Codec struct{}

// RowAnthropic is the row of the table of providers that asks InvokeModel with Anthropic's messages.
const RowAnthropic = "bedrock_anthropic"

// Version is the member anthropic_version, which Anthropic's models want in the body there.
const Version = "bedrock-2023-05-31"

// invoke begins the names of models that are asked with InvokeModel.
const invoke = "invoke/"

// Row is the row that serves a model by its name, "" for that of Converse.
func Row(model string) string {
	if strings.HasPrefix(model, invoke) && strings.Contains(model, "anthropic") {
		return RowAnthropic
	}
	return ""
}

// RootOf is the address of an endpoint: rerankings are asked of the service of agents.
func RootOf(e llm.Endpoint, base string) string {
	if e == llm.BedrockRerank {
		return strings.Replace(base, "://bedrock-runtime.", "://bedrock-agent-runtime.", 1)
	}
	return base
}

// Path is the endpoint's path, in which the model stands: its name, or an ARN of an inference
// profile, a prompt or a model of one's own.
func (Codec) Path(p llm.Place) string {
	if p.Endpoint == llm.BedrockRerank {
		return "/rerank"
	}
	name := strings.TrimPrefix(strings.TrimPrefix(p.Model, "converse/"), invoke)
	if p.Endpoint == llm.BedrockCount {
		return "/model/" + escape(countable(name, p.Options["base_model"])) + countTokens
	}
	path := "/model/" + escape(name)
	switch {
	case p.Endpoint == llm.BedrockSonic:
		return path + "/invoke-with-bidirectional-stream"
	case p.Stream && (p.Endpoint == llm.Messages || p.Endpoint == llm.Invoke):
		return path + "/invoke-with-response-stream"
	case p.Endpoint == llm.Messages, p.Endpoint == llm.Invoke, p.Endpoint == llm.InvokeEmbed, p.Endpoint == llm.InvokeImages:
		return path + "/invoke"
	case p.Stream:
		return path + "/converse-stream"
	}
	return path + "/converse"
}

// escape writes a label of a path as Amazon wants it: all but letters, digits and "-_.~" in
// percent signs.
func escape(s string) string {
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(s)+16)
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~", c) >= 0 {
			b = append(b, c)
			continue
		}
		b = append(b, '%', hex[c>>4], hex[c&15])
	}
	return string(b)
}

// Read reads a whole answer.
func (Codec) Read(e llm.Endpoint, body []byte) (llm.Report, error) {
	if e == llm.Messages {
		return anthropic.Codec{}.Read(e, body)
	}
	if e == llm.Invoke {
		return readInvoked(body)
	}
	if e == llm.InvokeEmbed {
		return embed.Report(body, "inputTextTokenCount")
	}
	if e == llm.BedrockRerank || e == llm.InvokeImages || e == llm.BedrockCount {
		return embed.Report(body, "")
	}
	var r llm.Report
	c := llm.NewCursor(body)
	if c.Next() != '{' {
		return r, malformed(errNoObject)
	}
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "output":
			r.TextBytes += output(&c)
		case "stopReason":
			if c.Next() == '"' {
				r.Finished = 1
			}
			r.Seen = 1
			c.Raw()
		case "__type":
			r.HasError = c.Next() == '"'
			c.Raw()
		default:
			c.Raw()
		}
	}
	if err := c.End(); err != nil {
		return llm.Report{}, malformed(err)
	}
	r.Usage, r.HasUsage = llm.ReadUsage(llm.DialectConverse, body)
	return r, nil
}

// output is the size of what the model wrote.
func output(c *llm.Cursor) (size int64) {
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) != "message" {
			c.Raw()
			continue
		}
		for m := 0; c.Member(m); m++ {
			if string(c.Name()) != "content" {
				c.Raw()
				continue
			}
			for k := 0; c.Element(k); k++ {
				size += written(c)
			}
		}
	}
	return size
}

// written is the size of the text in a block, or in a delta of one.
func written(c *llm.Cursor) (size int64) {
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "text":
			size += max(0, int64(len(c.Raw()))-2)
		case "input":
			v := c.Raw()
			size += int64(len(v))
			if len(v) > 1 && v[0] == '"' {
				size -= 2
			}
		case "toolUse", "reasoningContent", "reasoningText":
			size += written(c)
		case "citationsContent":
			size += cited(c)
		default:
			c.Raw()
		}
	}
	return size
}

// cited is the size of a text with citations.
func cited(c *llm.Cursor) (size int64) {
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) != "content" {
			c.Raw()
			continue
		}
		for m := 0; c.Element(m); m++ {
			size += written(c)
		}
	}
	return size
}

// Meter reads the events of one stream.
func (Codec) Meter(e llm.Endpoint) llm.Meter {
	if e == llm.Messages {
		return anthropic.Codec{}.Meter(e)
	}
	if e == llm.Invoke {
		return new(invokedMeter)
	}
	return &meter{usage: llm.UsageMeter{Dialect: llm.DialectConverse}}
}

// Frames splits Amazon's event stream.
func (Codec) Frames(e llm.Endpoint, src io.Reader, most int) llm.EventReader {
	r := NewReader(src, most)
	if e == llm.Messages {
		return &unwrapped{frames: r}
	}
	return r
}

// Classify makes the error of an answer.
func (Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	return classify(now, status, h, body)
}

// meter reads what the gateway must know of a stream's events.
type meter struct{ usage llm.UsageMeter }

// Event reads one event. The answer ends with messageStop, and the stream with the metadata that
// tell the usage.
func (m *meter) Event(e llm.Event) (llm.Report, error) {
	r := llm.Report{Seen: 1}
	if isException(e.Type) {
		r.HasError = true
		return r, nil
	}
	c := llm.NewCursor(e.Data)
	if c.Next() != '{' {
		return r, malformed(errNoObject)
	}
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "delta":
			r.TextBytes += written(&c)
		case "stopReason":
			if c.Next() == '"' {
				r.Finished = 1
			}
			c.Raw()
		default:
			c.Raw()
		}
	}
	if err := c.End(); err != nil {
		return llm.Report{}, malformed(err)
	}
	if string(e.Type) == eventMetadata {
		r.Done = true
		r.Usage, r.HasUsage = m.usage.Add(e.Data)
	}
	return r, nil
}
