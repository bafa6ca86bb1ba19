// Package chatgpt reads and writes the responses of ChatGPT's back end for Codex, which answers for a
// subscription. It speaks OpenAI's responses with conditions: it stores nothing, always streams, wants
// instructions, and takes no limit of output and no sampling. Nobody documents it; the conditions are those of
// OpenAI's open client and of the facts that others have found.
package chatgpt

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/openai"
)

// Header are the headers that every request has.
var Header = map[string]string{"Openai-Beta": "responses=experimental", "Originator": "conclave"}

// Codec is the back end's format.
type Codec struct{ openai.Codec }

// Path is the one of responses.
func (Codec) Path(llm.Place) string { return "/responses" }

// Meter reads a stream.
func (c Codec) Meter(llm.Endpoint) llm.Meter { return c.Codec.Meter(llm.Responses) }

// Read reads a whole answer, which is a stream.
func (c Codec) Read(_ llm.Endpoint, body []byte) (llm.Report, error) {
	whole, err := gather(body)
	if err != nil {
		return llm.Report{}, err
	}
	return c.Codec.Read(llm.Responses, whole)
}

// Classify makes the error of an answer, which may be {"detail":"text"}.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	var said struct {
		Detail string `json:"detail"`
	}
	if whole, err := gather(body); err == nil && status < 300 {
		body = whole
	}
	if json.Unmarshal(body, &said) != nil || said.Detail == "" {
		return c.Codec.Classify(now, status, h, body)
	}
	e := c.Codec.Classify(now, status, h, append(llm.AppendString([]byte(`{"error":{"message":`), said.Detail), "}}"...))
	e.Body = nil
	return e
}

// Format is the dialect.
type Format struct{ openai.Responses }

// instructions are those of a request that has none.
const instructions = "You are a helpful assistant."

// taken are the members at the top that the back end takes.
var taken = map[string]bool{
	"model": true, "instructions": true, "input": true, "tools": true, "tool_choice": true, "parallel_tool_calls": true, "reasoning": true,
	"store": true, "stream": true, "include": true, "text": true, "prompt_cache_key": true, "service_tier": true, "truncation": true,
}

// EncodeRequest writes a request for the provider. The limit on output, which the back end does not take, is left
// out without a word: the gateway may have set it.
func (f Format) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	req := *q
	req.Stream, req.MaxTokens = true, 0
	req.Messages = instructed(q.Messages)
	raw, err := f.Responses.EncodeRequest(&req, t)
	if err != nil {
		return nil, err
	}
	dst := append(make([]byte, 0, len(raw)), '{')
	c := llm.NewCursor(raw)
	for n := 0; c.Member(n); n++ {
		name := string(c.Name())
		v := c.Raw()
		if name == "store" || !taken[name] && !t.Drop(name) {
			continue
		}
		dst = append(llm.AppendKey(dst, name), v...)
	}
	dst = append(llm.AppendKey(dst, "store"), "false"...)
	return append(dst, '}'), t.Err()
}

// instructed are the messages with instructions in the first alone: the back end takes no messages of the system.
func instructed(list []chat.Message) []chat.Message {
	var said []string
	rest := make([]chat.Message, 0, len(list)+1)
	for i := range list {
		m := list[i]
		if m.Role != chat.RoleSystem && m.Role != chat.RoleDeveloper {
			rest = append(rest, m)
			continue
		}
		text, ok := words(&m)
		if len(rest) > 0 || !ok {
			m.Role = chat.RoleDeveloper
			rest = append(rest, m)
			continue
		}
		said = append(said, text)
	}
	first := chat.Message{Role: chat.RoleSystem, Parts: []chat.Part{{Text: instructions}}}
	if len(said) > 0 {
		first.Parts[0].Text = strings.Join(said, "\n\n")
	}
	return append([]chat.Message{first}, rest...)
}

// words is the text of a message; false: it has other parts.
func words(m *chat.Message) (string, bool) {
	var b strings.Builder
	for i := range m.Parts {
		if m.Parts[i].Type != chat.PartText {
			return "", false
		}
		b.WriteString(m.Parts[i].Text)
	}
	return b.String(), true
}

// DecodeResponse reads a whole answer.
func (f Format) DecodeResponse(body []byte) (*chat.Response, error) {
	whole, err := gather(body)
	if err != nil {
		return nil, err
	}
	return f.Responses.DecodeResponse(whole)
}

var errNone = errors.New("the stream has no end")

// gather makes of a stream the response that its last event has. Its output, which may be missing there, is that
// of the items that came. What is no stream is the answer itself.
func gather(body []byte) ([]byte, error) {
	if b := bytes.TrimLeft(body, " \t\r\n"); len(b) == 0 || b[0] == '{' || b[0] == '[' {
		return body, nil
	}
	var items [][]byte
	r := new(llm.SSEReader)
	r.Reset(bytes.NewReader(body), len(body)+1)
	for {
		e, err := r.Next()
		if err != nil {
			return nil, &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent an answer that cannot be read.", Err: errNone}
		}
		var v struct {
			Type     string          `json:"type"`
			Item     json.RawMessage `json:"item"`
			Response json.RawMessage `json:"response"`
		}
		if len(e.Data) == 0 || json.Unmarshal(e.Data, &v) != nil {
			continue
		}
		switch v.Type {
		case "response.output_item.done":
			items = append(items, v.Item)
		case "response.completed", "response.incomplete", "response.failed":
			return filled(v.Response, items), nil
		case "error":
			return bytes.Clone(e.Data), nil
		}
	}
}

// filled is a response with the items in the place of an output that has none.
func filled(response []byte, items [][]byte) []byte {
	var had struct {
		Output []json.RawMessage `json:"output"`
	}
	if len(items) == 0 || json.Unmarshal(response, &had) == nil && len(had.Output) > 0 {
		return response
	}
	dst := []byte{'{'}
	c := llm.NewCursor(response)
	for n := 0; c.Member(n); n++ {
		name := string(c.Name())
		if v := c.Raw(); name != "output" {
			dst = append(llm.AppendKey(dst, name), v...)
		}
	}
	dst = append(append(llm.AppendKey(dst, "output"), '['), bytes.Join(items, []byte{','})...)
	return append(dst, "]}"...)
}
