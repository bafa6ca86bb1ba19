// Package langflow asks the flows of a Langflow server, at /v1/run, whose form is partly from memory of its
// reference; no server was asked. A model is the id or the name of a flow. Its streams have one event for each
// component of a flow, so that none is asked for: one is streamed as one answer.
package langflow

import (
	"encoding/json"
	"net/url"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/plain"
)

// Format is the server's dialect, both its codec and its half that writes requests.
type Format struct{ plain.Codec }

// New makes the format.
func New() Format { return Format{plain.Codec{Reader: read}} }

// Path is the flow's.
func (Format) Path(p llm.Place) string {
	return "/api/v1/run/" + url.PathEscape(p.Model) + "?stream=false"
}

// memberSession names the conversation that the server keeps, where the client says one.
const memberSession = "session_id"

// EncodeRequest writes a request for the provider: the whole conversation as a text, or with a session,
// of which the server knows what was said before, its last message alone.
func (Format) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	plain.Drop(q, t, memberSession)
	session := q.Extra[memberSession]
	said := *q
	said.Extra = nil
	if n := len(q.Messages); session != nil && n > 0 {
		said.Messages = []chat.Message{{Role: chat.RoleUser, Parts: q.Messages[n-1].Parts}}
	}
	p, err := plain.Ask(&said, t)
	if err != nil {
		return nil, err
	}
	dst := llm.AppendString([]byte(`{"input_value":`), p.Text)
	dst = append(dst, `,"input_type":"chat","output_type":"chat"`...)
	return append(plain.AppendExtra(dst, q, memberSession), '}'), t.Err()
}

// said is a message of a flow.
type said struct {
	Text  *string `json:"text"`
	Error bool    `json:"error"`
	Data  struct {
		Text  *string `json:"text"`
		Error bool    `json:"error"`
	} `json:"data"`
}

// read reads an answer, whose first message stands deep in it.
func read(body []byte) (*plain.Piece, error) {
	var got struct {
		Session string `json:"session_id"`
		Outputs []struct {
			Outputs []struct {
				Results struct {
					Message *said `json:"message"`
				} `json:"results"`
			} `json:"outputs"`
		} `json:"outputs"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, plain.Malformed(err)
	}
	p := new(plain.Piece)
	for _, flow := range got.Outputs {
		for _, one := range flow.Outputs {
			m := one.Results.Message
			if m == nil || p.Some {
				continue
			}
			if m.Text == nil {
				m.Text = m.Data.Text
			}
			if m.Text == nil {
				continue
			}
			p.Some, p.Text, p.Finish = true, *m.Text, chat.FinishStop
			if m.Error || m.Data.Error {
				p.Fault = "The flow failed: " + p.Text
			}
		}
	}
	return p, nil
}
