// Package alephalpha reads and writes the completions of Aleph Alpha's inference API, in its cloud and
// on one's own machines. The form is that of LiteLLM's facts and of the vendor's clients; its streams,
// which not all versions have, are not asked for: one is streamed as one answer.
package alephalpha

import (
	"encoding/json"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/plain"
)

// Format is the vendor's dialect, both its codec and its half that writes requests.
type Format struct{ plain.Codec }

// New makes the format.
func New() Format { return Format{plain.Codec{Reader: read}} }

// Path is the endpoint's.
func (Format) Path(llm.Place) string { return "/complete" }

// defaultTokens is what is asked for where nobody says: the vendor wants a limit named.
const defaultTokens = 1024

// own are the vendor's own members that a client may send.
var own = []string{"minimum_tokens", "repetition_penalties_include_prompt", "contextual_control_threshold", "control_log_additive"}

// EncodeRequest writes a request for the provider.
func (Format) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	p, err := plain.Ask(q, t, append([]string{"top_k", "frequency_penalty", "presence_penalty"}, own...)...)
	if err != nil {
		return nil, err
	}
	most := q.MaxTokens
	if most == 0 {
		most = plain.Most(t, defaultTokens)
	}
	dst := llm.AppendString([]byte(`{"model":`), t.Model)
	dst = llm.AppendString(llm.AppendKey(dst, "prompt"), p.Text)
	dst = plain.AppendInt(dst, "maximum_tokens", &most)
	dst = plain.AppendFloat(dst, "temperature", q.Temperature)
	dst = plain.AppendFloat(dst, "top_p", q.TopP)
	dst = plain.AppendInt(dst, "top_k", q.TopK)
	dst = plain.AppendFloat(dst, "frequency_penalty", q.FrequencyPenalty)
	dst = plain.AppendFloat(dst, "presence_penalty", q.PresencePenalty)
	dst = plain.AppendTexts(dst, "stop_sequences", p.Stop)
	return append(plain.AppendExtra(dst, q, own...), '}'), t.Err()
}

// read reads a whole answer.
func read(body []byte) (*plain.Piece, error) {
	var got struct {
		Completions []struct {
			Text   *string `json:"completion"`
			Reason string  `json:"finish_reason"`
		} `json:"completions"`
		Input  *int64 `json:"num_tokens_prompt_total"`
		Output *int64 `json:"num_tokens_generated"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, plain.Malformed(err)
	}
	p := &plain.Piece{Usage: plain.Used(got.Input, got.Output)}
	if len(got.Completions) == 0 || got.Completions[0].Text == nil {
		return p, nil
	}
	p.Some, p.Text, p.Finish = true, *got.Completions[0].Text, chat.FinishStop
	if got.Completions[0].Reason == "maximum_tokens" {
		p.Finish = chat.FinishLength
	}
	return p, nil
}
