// Package nlpcloud reads and writes the texts of NLP Cloud (generation), as its reference has them.
package nlpcloud

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/openai"
	"github.com/conclave-llm/conclave/provider/plain"
)

// Codec is NLP Cloud's format.
type Codec struct{ compatible openai.Codec }

// Path is the model's path.
func (Codec) Path(p llm.Place) string { return "/" + url.PathEscape(p.Model) + "/generation" }

// Read reads a whole answer.
func (Codec) Read(_ llm.Endpoint, body []byte) (llm.Report, error) {
	p, err := read(body)
	if err != nil {
		return llm.Report{}, err
	}
	return p.Report(), nil
}

// Meter is nil: nothing is streamed.
func (Codec) Meter(llm.Endpoint) llm.Meter { return nil }

// Frames is nil, likewise.
func (Codec) Frames(llm.Endpoint, io.Reader, int) llm.EventReader { return nil }

// Classify makes the error of an answer: {"detail":"text"}.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	return c.compatible.Classify(now, status, h, body)
}

// Chat is the dialect. A stream is one answer.
type Chat struct{}

// EncodeRequest writes a request for the provider, which knows one end of a text.
func (Chat) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	p, err := plain.Ask(q, t, "top_k", "repetition_penalty", "bad_words")
	if err != nil {
		return nil, err
	}
	dst := llm.AppendString([]byte(`{"text":`), p.Text)
	dst = append(llm.AppendKey(dst, "remove_input"), "true"...)
	if q.MaxTokens > 0 {
		dst = plain.AppendInt(dst, "max_length", &q.MaxTokens)
		dst = append(llm.AppendKey(dst, "length_no_input"), "true"...)
	}
	dst = plain.AppendFloat(dst, "temperature", q.Temperature)
	dst = plain.AppendFloat(dst, "top_p", q.TopP)
	dst = plain.AppendInt(dst, "top_k", q.TopK)
	if len(p.Stop) > 0 {
		dst = llm.AppendString(llm.AppendKey(dst, "end_sequence"), p.Stop[0])
		dst = append(llm.AppendKey(dst, "remove_end_sequence"), "true"...)
		if len(p.Stop) > 1 {
			t.Drop("stop")
		}
	}
	for _, name := range []string{"repetition_penalty", "bad_words"} {
		if raw := q.Extra[name]; raw != nil {
			dst = llm.AppendRaw(llm.AppendKey(dst, name), raw)
		}
	}
	return append(dst, '}'), t.Err()
}

func read(body []byte) (*plain.Piece, error) {
	var got struct {
		Text   *string `json:"generated_text"`
		Input  *int64  `json:"nb_input_tokens"`
		Output *int64  `json:"nb_generated_tokens"`
		Error  string  `json:"error"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, plain.Malformed(err)
	}
	p := &plain.Piece{Some: got.Text != nil, Fault: got.Error}
	if got.Text != nil {
		p.Text, p.Finish = *got.Text, chat.FinishStop
	}
	if got.Input != nil && got.Output != nil {
		p.Usage = llm.Usage{Input: tokens(*got.Input), Output: tokens(*got.Output), Source: llm.UsageProvider}
	}
	return p, nil
}

func tokens(n int64) int64 { return max(0, min(n, llm.MaxTokenCount)) }

// DecodeResponse reads a whole answer.
func (Chat) DecodeResponse(body []byte) (*chat.Response, error) {
	p, err := read(body)
	if err != nil {
		return nil, err
	}
	return p.Response()
}

// NewDecoder reads one stream, of which there are none.
func (Chat) NewDecoder() chat.Decoder { return &plain.Decoder{Read: read} }
