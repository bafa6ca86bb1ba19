// Package langgraph asks the agents of a LangGraph server (LangSmith's Agent Server): a run without a
// thread gets the whole conversation, in runs/wait and runs/stream. Their form is partly from memory of the
// server's API reference, and no server was asked. A model is the name of an assistant or of a graph.
package langgraph

import (
	"encoding/json"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/plain"
)

// Format is the server's dialect, both its codec and its half that writes requests.
type Format struct{ plain.Codec }

// New makes the format. A run may ask several models, each of which tells what it used.
func New() Format { return Format{plain.Codec{Reader: read, Adds: plain.Sums}} }

// Path is that of runs that nobody asks about later.
func (Format) Path(p llm.Place) string {
	if p.Stream {
		return "/runs/stream"
	}
	return "/runs/wait"
}

// EncodeRequest writes a request for the provider. How its models sample is the agent's own to say.
func (Format) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	plain.Drop(q, t)
	dst := llm.AppendString([]byte(`{"assistant_id":`), t.Model)
	dst = append(llm.AppendKey(dst, "input"), `{"messages":[`...)
	for i := range q.Messages {
		said, err := plain.Said(&q.Messages[i], t)
		if err != nil {
			return nil, err
		}
		dst = llm.AppendString(append(llm.AppendComma(dst), `{"role":`...), plain.Role(q.Messages[i].Role))
		dst = append(llm.AppendString(llm.AppendKey(dst, "content"), said), '}')
	}
	dst = append(dst, "]}"...)
	if q.Stream {
		dst = append(llm.AppendKey(dst, "stream_mode"), `["messages-tuple"]`...)
	}
	return append(dst, '}'), t.Err()
}

// message is one of the state's.
type message struct {
	ID      string          `json:"id"`
	Type    string          `json:"type"`
	Content json.RawMessage `json:"content"`
	Usage   *struct {
		Input  *int64 `json:"input_tokens"`
		Output *int64 `json:"output_tokens"`
	} `json:"usage_metadata"`
}

// spoken says whether a model said the message, or a piece of it.
func (m *message) spoken() bool { return m.Type == "ai" || m.Type == "AIMessageChunk" }

func (m *message) used() llm.Usage {
	if m.Usage == nil {
		return llm.Usage{}
	}
	return plain.Used(m.Usage.Input, m.Usage.Output)
}

// read reads the state after a run, or an event: of a message, which is a pair with what is known of
// it, or of another kind, which says nothing.
func read(body []byte) (*plain.Piece, error) {
	var pair []json.RawMessage
	if json.Unmarshal(body, &pair) == nil {
		return readPair(pair)
	}
	var got struct {
		Messages  []message       `json:"messages"`
		Interrupt json.RawMessage `json:"__interrupt__"`
		Failed    *failure        `json:"__error__"`
		failure
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, plain.Malformed(err)
	}
	p := new(plain.Piece)
	switch {
	case got.Failed != nil:
		p.Fault = got.Failed.text()
		return p, nil
	case got.Error != "":
		p.Fault = got.text()
		return p, nil
	}
	readState(p, got.Messages)
	if !p.Some && len(got.Interrupt) > 0 {
		p.Fault = "The agent stopped to ask somebody, which a request cannot answer."
	}
	return p, nil
}

// failure is how the server tells that a run failed.
type failure struct {
	Error   string `json:"error"`
	Message string `json:"message"`
}

func (f *failure) text() string {
	switch {
	case f.Message == "":
		return "The agent failed: " + f.Error
	case f.Error == "":
		return "The agent failed: " + f.Message
	}
	return "The agent failed: " + f.Error + ": " + f.Message
}

// readState reads the answer out of the state: the last message, which a model said; what it used is
// that of all since the client's last.
func readState(p *plain.Piece, list []message) {
	for i := len(list) - 1; i >= 0 && list[i].Type != "human"; i-- {
		m := &list[i]
		if !m.spoken() {
			continue
		}
		if u := m.used(); u.Source != llm.UsageNone {
			p.Usage.Input += u.Input
			p.Usage.Output += u.Output
			p.Usage.Source = u.Source
		}
		if p.Some {
			continue
		}
		if text, ok := plain.Content(m.Content); ok {
			p.ID, p.Text, p.Some, p.Finish = m.ID, text, true, chat.FinishStop
		}
	}
}

// readPair reads an event of a message.
func readPair(pair []json.RawMessage) (*plain.Piece, error) {
	p := new(plain.Piece)
	if len(pair) == 0 {
		return p, nil
	}
	var m message
	if err := json.Unmarshal(pair[0], &m); err != nil {
		return nil, plain.Malformed(err)
	}
	if !m.spoken() {
		return p, nil
	}
	p.Text, p.Some = plain.Content(m.Content)
	p.ID, p.Usage = m.ID, m.used()
	return p, nil
}
