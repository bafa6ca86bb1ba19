// Package bytez reads and writes the conversations of the models at Bytez. The form is that of LiteLLM's
// facts. Its streams are bare text that tells neither its end nor an error, so that none is asked for:
// one is streamed as one answer.
package bytez

import (
	"encoding/json"
	"net/url"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/plain"
)

// Format is the vendor's dialect, both its codec and its half that writes requests.
type Format struct{ plain.Codec }

// New makes the format.
func New() Format { return Format{plain.Codec{Reader: read}} }

// Path is the model's name: "google/gemma-3-4b-it".
func (Format) Path(p llm.Place) string {
	owner, name, found := strings.Cut(p.Model, "/")
	if !found {
		return "/" + url.PathEscape(owner)
	}
	return "/" + url.PathEscape(owner) + "/" + url.PathEscape(name)
}

// EncodeRequest writes a request for the provider.
func (Format) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	plain.Drop(q, t, "temperature", "top_p", "max_tokens")
	dst := append([]byte(nil), `{"messages":[`...)
	for i := range q.Messages {
		said, err := plain.Said(&q.Messages[i], t)
		if err != nil {
			return nil, err
		}
		dst = llm.AppendString(append(llm.AppendComma(dst), `{"role":`...), plain.Role(q.Messages[i].Role))
		dst = llm.AppendString(append(llm.AppendKey(dst, "content"), `[{"type":"text","text":`...), said)
		dst = append(dst, "}]}"...)
	}
	dst = append(llm.AppendKey(append(dst, ']'), "params"), '{')
	if q.MaxTokens > 0 {
		dst = plain.AppendInt(dst, "max_new_tokens", &q.MaxTokens)
	}
	dst = plain.AppendFloat(dst, "temperature", q.Temperature)
	dst = plain.AppendFloat(dst, "top_p", q.TopP)
	return append(dst, `},"stream":false}`...), t.Err()
}

// read reads an answer: {"error":null,"output":…}, whose output is a text or a message.
func read(body []byte) (*plain.Piece, error) {
	var got struct {
		Error  *string         `json:"error"`
		Output json.RawMessage `json:"output"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, plain.Malformed(err)
	}
	p := new(plain.Piece)
	if got.Error != nil && *got.Error != "" {
		p.Fault = *got.Error
		return p, nil
	}
	var message struct {
		Content json.RawMessage `json:"content"`
	}
	switch {
	case string(got.Output) == "null":
		return p, nil
	case json.Unmarshal(got.Output, &p.Text) == nil:
		p.Some = true
	case json.Unmarshal(got.Output, &message) == nil:
		p.Text, p.Some = plain.Content(message.Content)
	}
	if p.Some {
		p.Finish = chat.FinishStop
	}
	return p, nil
}
