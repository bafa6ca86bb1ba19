// Package manus reads and writes the tasks of Manus's agents, in the form of OpenAI's responses that its API v1 has
// (open.manus.ai, "OpenAI compatibility"): a task is given, and asked for until it is finished. Manus counts no
// tokens. It calls the form deprecated and has named no day of its end. Files that stand in a task are brought there
// before it.
package manus

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/openai"
	"github.com/conclave-llm/conclave/provider/plain"
)

// responses is where tasks are given.
const responses = "/v1/responses"

// Format is the dialect, both its codec and its half that writes requests.
type Format struct{ plain.Codec }

// New makes the format.
func New() Format { return Format{plain.Codec{Reader: read}} }

// Path is the endpoint's.
func (Format) Path(llm.Place) string { return responses }

// RootOf is the address of the API: a base may end with its version.
func RootOf(_ llm.Endpoint, base string) string { return strings.TrimSuffix(base, "/v1") }

// EncodeRequest writes a task: its model is the agent's profile, such as manus-1.6-lite.
func (Format) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	req := *q
	req.Stream = false
	plain.Drop(&req, t)
	bare := chat.Request{Model: q.Model, Messages: q.Messages}
	raw, err := openai.Responses{}.EncodeRequest(&bare, t)
	if err != nil {
		return nil, err
	}
	dst := append(make([]byte, 0, len(raw)+64), '{')
	c := llm.NewCursor(raw)
	for n := 0; c.Member(n); n++ {
		name := string(c.Name())
		if v := c.Raw(); name != "store" && name != "include" {
			dst = append(llm.AppendKey(dst, name), v...)
		}
	}
	dst = append(llm.AppendKey(dst, "task_mode"), `"agent"`...)
	return append(llm.AppendString(llm.AppendKey(dst, "agent_profile"), t.Model), '}'), t.Err()
}

// task is one, or what became of it.
type task struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Output []struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	} `json:"output"`
	Error json.RawMessage `json:"error"`
}

// The statuses of a task. One that is pending waits for what the user says next, which is its answer.
const (
	running   = "running"
	pending   = "pending"
	completed = "completed"
)

// pause is how long is waited between two questions: an agent takes minutes.
const pause = 5 * time.Second

// Follow implements provider.Follower.
func (Format) Follow(body []byte) (*llm.Step, error) {
	var got task
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, plain.Malformed(err)
	}
	if got.Status != running || got.ID == "" {
		return nil, nil
	}
	return &llm.Step{Method: http.MethodGet, Path: responses + "/" + url.PathEscape(got.ID), Wait: pause}, nil
}

var errStatus = errors.New("it has no status that is known")

// read reads what became of a task: all that the agent said.
func read(body []byte) (*plain.Piece, error) {
	var got task
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, plain.Malformed(err)
	}
	p := &plain.Piece{ID: got.ID}
	switch got.Status {
	case running:
		return p, nil
	case completed, pending:
	case "error", "failed":
		p.Fault = fault(got.Error)
		return p, nil
	default:
		return nil, plain.Malformed(errStatus)
	}
	var said []string
	for i := range got.Output {
		if text, ok := words(got.Output[i].Content); ok && got.Output[i].Role == "assistant" {
			said = append(said, text)
		}
	}
	p.Some, p.Text, p.Finish = true, strings.Join(said, "\n\n"), chat.FinishStop
	return p, nil
}

// words are the texts of a content.
func words(raw json.RawMessage) (string, bool) {
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if json.Unmarshal(raw, &parts) != nil {
		return plain.Content(raw)
	}
	var b strings.Builder
	for _, one := range parts {
		if one.Type == "output_text" || one.Type == "text" {
			b.WriteString(one.Text)
		}
	}
	return b.String(), b.Len() > 0
}

// fault is what an error says: a text, or an object with a message.
func fault(raw json.RawMessage) string {
	var said struct {
		Message string `json:"message"`
	}
	var text string
	switch {
	case json.Unmarshal(raw, &text) == nil && text != "":
		return text
	case json.Unmarshal(raw, &said) == nil && said.Message != "":
		return said.Message
	}
	return "The agent could not finish the task."
}
