// Package fim writes requests to fill in the middle of a text (/fim/completions), as Mistral's API
// document has them; Inception follows it. What comes back is a chat completion at the one, a completion
// at the other.
package fim

import (
	"bytes"
	"encoding/json"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/openai"
	"github.com/conclave-llm/conclave/provider/plain"
)

// Codec is the format.
type Codec struct{ openai.Codec }

// Path is the endpoint's path.
func (c Codec) Path(p llm.Place) string {
	if p.Endpoint == llm.FIMCompletions {
		return "/fim/completions"
	}
	return c.Codec.Path(p)
}

// Format is the dialect.
type Format struct{}

// Infills marks that a request may have a suffix.
func (Format) Infills() {}

// EncodeRequest writes a request for the provider.
func (Format) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	p, err := plain.Ask(q, t, "seed", "min_tokens")
	if err != nil {
		return nil, err
	}
	dst := llm.AppendString([]byte(`{"model":`), t.Model)
	dst = llm.AppendString(llm.AppendKey(dst, "prompt"), p.Text)
	if q.Suffix != "" {
		dst = llm.AppendString(llm.AppendKey(dst, "suffix"), q.Suffix)
	}
	if q.MaxTokens > 0 {
		dst = plain.AppendInt(dst, "max_tokens", &q.MaxTokens)
	}
	dst = plain.AppendFloat(dst, "temperature", q.Temperature)
	dst = plain.AppendFloat(dst, "top_p", q.TopP)
	dst = plain.AppendTexts(dst, "stop", p.Stop)
	dst = plain.AppendInt(dst, "random_seed", q.Seed)
	dst = plain.AppendExtra(dst, q, "min_tokens")
	if q.Stream {
		dst = append(llm.AppendKey(dst, "stream"), "true"...)
	}
	return append(dst, '}'), t.Err()
}

// DecodeResponse reads a whole answer.
func (Format) DecodeResponse(body []byte) (*chat.Response, error) {
	if texts(body) {
		return openai.Completions{}.DecodeResponse(body)
	}
	return openai.Chat{}.DecodeResponse(body)
}

// texts says whether the choices of an answer are texts.
func texts(body []byte) bool {
	var got struct {
		Choices []struct {
			Text json.RawMessage `json:"text"`
		} `json:"choices"`
	}
	return bytes.Contains(body, []byte(`"text"`)) && json.Unmarshal(body, &got) == nil && len(got.Choices) > 0 && got.Choices[0].Text != nil
}

// NewDecoder reads one stream, of either form.
func (Format) NewDecoder() chat.Decoder { return openai.Completions{}.NewDecoder() }
