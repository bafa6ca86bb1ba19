// Package completions reads and writes Anthropic's older completions of a text (/v1/complete), as its
// reference of the text completions has them: a play of two, whose parts begin with names.
package completions

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/anthropic"
	"github.com/conclave-llm/conclave/provider/plain"
)

// Format is the dialect, both its codec and its half that writes requests.
type Format struct{ plain.Codec }

// New makes the format.
func New() Format { return Format{plain.Codec{Reader: read, Marked: true}} }

// Path is the endpoint's.
func (Format) Path(llm.Place) string { return "/v1/complete" }

// Classify makes the error of an answer, which is that of messages.
func (Format) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	return anthropic.Codec{}.Classify(now, status, h, body)
}

// The names that a part begins with.
const (
	human     = "\n\nHuman:"
	assistant = "\n\nAssistant:"
)

// defaultTokens is what is asked for where nobody says: the vendor wants a limit named.
const defaultTokens = 4096

// EncodeRequest writes a request for the provider.
func (Format) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	plain.Drop(q, t, "temperature", "top_p", "max_tokens", "stop", "top_k", "metadata")
	prompt, err := play(q.Messages, t)
	if err != nil {
		return nil, err
	}
	most := q.MaxTokens
	if most == 0 {
		most = plain.Most(t, defaultTokens)
	}
	dst := llm.AppendString([]byte(`{"model":`), t.Model)
	dst = llm.AppendString(llm.AppendKey(dst, "prompt"), prompt)
	dst = plain.AppendInt(dst, "max_tokens_to_sample", &most)
	dst = plain.AppendFloat(dst, "temperature", q.Temperature)
	dst = plain.AppendFloat(dst, "top_p", q.TopP)
	dst = plain.AppendInt(dst, "top_k", q.TopK)
	dst = plain.AppendTexts(dst, "stop_sequences", q.Stop)
	if q.User != "" {
		dst = append(llm.AppendString(append(llm.AppendKey(dst, "metadata"), `{"user_id":`...), q.User), '}')
	}
	if q.Stream {
		dst = append(llm.AppendKey(dst, "stream"), "true"...)
	}
	return append(dst, '}'), t.Err()
}

// play writes a conversation: instructions at its beginning stand before all parts, later ones are
// said by the human, as are results of tools. It ends where the assistant is to go on.
func play(list []chat.Message, t *llm.Target) (string, error) {
	var b strings.Builder
	for i := range list {
		m := &list[i]
		said, err := plain.Said(m, t)
		if err != nil {
			return "", err
		}
		switch {
		case m.Role == chat.RoleAssistant:
			b.WriteString(assistant + " " + said)
		case m.Role != chat.RoleUser && !strings.Contains(b.String(), human):
			b.WriteString(said)
		default:
			b.WriteString(human + " " + said)
		}
	}
	if !strings.Contains(b.String(), human) { // the vendor wants one
		return human + " " + b.String() + assistant, nil
	}
	if n := len(list); n == 0 || list[n-1].Role != chat.RoleAssistant {
		b.WriteString(assistant)
	}
	return b.String(), nil
}

// read reads an answer, or an event.
func read(body []byte) (*plain.Piece, error) {
	var got struct {
		Type   string  `json:"type"`
		ID     string  `json:"id"`
		Text   *string `json:"completion"`
		Reason *string `json:"stop_reason"`
		Error  *struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, plain.Malformed(err)
	}
	p := &plain.Piece{ID: got.ID, Some: got.Text != nil}
	if got.Error != nil {
		p.Fault = got.Error.Message
		if p.Fault == "" {
			p.Fault = "The model failed."
		}
		return p, nil
	}
	if got.Text != nil {
		p.Text = *got.Text
	}
	if got.Reason != nil {
		p.Finish = chat.FinishStop
		if *got.Reason == "max_tokens" {
			p.Finish = chat.FinishLength
		}
	}
	return p, nil
}
