// Package a2a asks agents that speak the Agent2Agent protocol: JSON-RPC over HTTP, in the form of its
// specification 0.3, partly from memory; no agent of another's was asked. A request is one message with the
// whole conversation as a text, and the answer is the agent's message, or what the task made that the agent
// took up. One is streamed as one answer.
package a2a

import (
	"crypto/rand"
	"encoding/json"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/plain"
)

// Format is the protocol, both its codec and its half that writes requests.
type Format struct{ plain.Codec }

// New makes the format.
func New() Format { return Format{plain.Codec{Reader: read}} }

// Path is "": the address is the agent's own.
func (Format) Path(llm.Place) string { return "" }

// memberContext names the agent's own memory of a conversation, where the client says one.
const memberContext = "context_id"

// EncodeRequest writes a request for the agent. How it thinks is its own to say.
func (Format) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	plain.Drop(q, t, memberContext)
	bare := *q
	bare.Extra = nil
	p, err := plain.Ask(&bare, t)
	if err != nil {
		return nil, err
	}
	dst := append([]byte(nil), `{"jsonrpc":"2.0","id":"1","method":"message/send","params":{"message":{"kind":"message","role":"user"`...)
	dst = llm.AppendString(llm.AppendKey(dst, "messageId"), rand.Text())
	if raw := q.Extra[memberContext]; raw != nil {
		dst = llm.AppendRaw(llm.AppendKey(dst, "contextId"), raw)
	}
	dst = llm.AppendString(append(llm.AppendKey(dst, "parts"), `[{"kind":"text","text":`...), p.Text)
	return append(dst, `}]},"configuration":{"acceptedOutputModes":["text/plain","text"],"blocking":true}}}`...), t.Err()
}

// part is a piece of a message.
type part struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
}

// result is a message or a task.
type result struct {
	Kind   string `json:"kind"`
	ID     string `json:"id"`
	Parts  []part `json:"parts"` // of a message
	Status struct {
		State   string `json:"state"`
		Message *struct {
			Parts []part `json:"parts"`
		} `json:"message"`
	} `json:"status"`
	Artifacts []struct {
		Parts []part `json:"parts"`
	} `json:"artifacts"`
}

func decode(body []byte) (r *result, fault string, err error) {
	var got struct {
		Result *result `json:"result"`
		Error  *struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, "", plain.Malformed(err)
	}
	if got.Error != nil {
		return nil, "The agent refused: " + got.Error.Message, nil
	}
	return got.Result, "", nil
}

// pause is how long is waited between two questions.
const pause = time.Second

// Follow asks for a task that is not finished; nil: the body is the answer.
func (Format) Follow(body []byte) (*llm.Step, error) {
	r, _, err := decode(body)
	if err != nil {
		return nil, err
	}
	if r == nil || r.ID == "" || r.Status.State != "submitted" && r.Status.State != "working" {
		return nil, nil
	}
	ask := llm.AppendString([]byte(`{"jsonrpc":"2.0","id":"1","method":"tasks/get","params":{"id":`), r.ID)
	return &llm.Step{Body: append(ask, "}}"...), Wait: pause}, nil
}

// read reads an answer. A task that is not finished says nothing yet.
func read(body []byte) (*plain.Piece, error) {
	r, fault, err := decode(body)
	if err != nil {
		return nil, err
	}
	p := &plain.Piece{Fault: fault}
	if r == nil {
		return p, nil
	}
	p.ID = r.ID
	said := texts(r.Parts)
	if r.Kind != "message" {
		for _, a := range r.Artifacts {
			said += texts(a.Parts)
		}
		if m := r.Status.Message; m != nil && said == "" {
			said = texts(m.Parts)
		}
		switch r.Status.State {
		case "submitted", "working":
			return p, nil
		case "failed", "rejected", "canceled", "auth-required":
			p.Fault = strings.TrimSuffix("The agent's task is "+r.Status.State+": "+said, ": ")
			return p, nil
		}
	}
	p.Text, p.Some, p.Finish = said, true, chat.FinishStop
	return p, nil
}

func texts(list []part) string {
	var b strings.Builder
	for _, p := range list {
		if p.Kind == "text" || p.Kind == "" {
			b.WriteString(p.Text)
		}
	}
	return b.String()
}
