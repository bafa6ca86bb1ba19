// Package replicate reads and writes the texts of the models at Replicate, as its HTTP API of 2026 has
// predictions: one is ordered, and asked for until it is finished.
package replicate

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/openai"
	"github.com/conclave-llm/conclave/provider/plain"
)

// Header asks Replicate to wait for the prediction as long as it does that.
var Header = map[string]string{"Prefer": "wait"}

// Codec is Replicate's format.
type Codec struct{ compatible openai.Codec }

// Path is where a prediction of the model is ordered: "owner/name", "deployments/owner/name", or
// "owner/name:version", whose version stands in the body.
func (Codec) Path(p llm.Place) string {
	if _, version := versioned(p.Model); version != "" {
		return "/predictions"
	}
	model, kind := p.Model, "/models/"
	if rest, ok := strings.CutPrefix(model, "deployments/"); ok {
		model, kind = rest, "/deployments/"
	}
	owner, name, _ := strings.Cut(model, "/")
	return kind + url.PathEscape(owner) + "/" + url.PathEscape(name) + "/predictions"
}

// versioned splits the version off a model's name, "" if it has none.
func versioned(model string) (name, version string) {
	name, version, _ = strings.Cut(model, ":")
	return name, version
}

// Read reads a whole answer. One that is not finished says nothing yet.
func (Codec) Read(_ llm.Endpoint, body []byte) (llm.Report, error) {
	p, _, err := read(body)
	if err != nil {
		return llm.Report{}, err
	}
	return p.Report(), nil
}

// Meter is nil: nothing is streamed.
func (Codec) Meter(llm.Endpoint) llm.Meter { return nil }

// Frames is nil, likewise.
func (Codec) Frames(llm.Endpoint, io.Reader, int) llm.EventReader { return nil }

// Classify makes the error of an answer: {"title":"…","detail":"text","status":422}, or of a prediction
// that failed, which has "error".
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	if p, _, err := read(body); err == nil && p.Fault != "" && status < 300 {
		return &llm.Error{Kind: llm.Upstream, Status: http.StatusBadGateway, Code: "prediction_failed", Message: p.Fault}
	}
	return c.compatible.Classify(now, status, h, body)
}

// Chat is the dialect. A stream is one answer.
type Chat struct{}

// The options of a deployment that say what its model takes, of which there are as many ways as models.
const (
	optionSystem = "supports_system_prompt" // "true": system messages stand in system_prompt
	optionMost   = "max_tokens_name"        // of the limit on output: "max_new_tokens"
)

// EncodeRequest writes a request for the provider.
func (Chat) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	system := ""
	if t.Options[optionSystem] == "true" {
		q, system = withoutSystem(q)
	}
	p, err := plain.Ask(q, t, "seed", "top_k", "frequency_penalty", "presence_penalty")
	if err != nil {
		return nil, err
	}
	dst := []byte{'{'}
	if _, version := versioned(t.Model); version != "" {
		dst = llm.AppendString(llm.AppendKey(dst, "version"), version)
	}
	dst = llm.AppendString(append(llm.AppendKey(dst, "input"), `{"prompt":`...), p.Text)
	if system != "" {
		dst = llm.AppendString(llm.AppendKey(dst, "system_prompt"), system)
	}
	if q.MaxTokens > 0 {
		dst = plain.AppendInt(dst, mostName(t), &q.MaxTokens)
	}
	dst = plain.AppendFloat(dst, "temperature", q.Temperature)
	dst = plain.AppendFloat(dst, "top_p", q.TopP)
	dst = plain.AppendInt(dst, "top_k", q.TopK)
	dst = plain.AppendFloat(dst, "frequency_penalty", q.FrequencyPenalty)
	dst = plain.AppendFloat(dst, "presence_penalty", q.PresencePenalty)
	dst = plain.AppendInt(dst, "seed", q.Seed)
	if len(p.Stop) > 0 { // a list that commas divide
		dst = llm.AppendString(llm.AppendKey(dst, "stop_sequences"), strings.Join(p.Stop, ","))
	}
	return append(dst, '}', '}'), t.Err()
}

// mostName is what the model calls the limit on output.
func mostName(t *llm.Target) string {
	switch name := t.Options[optionMost]; name {
	case "max_new_tokens", "max_length", "max_output_tokens", "max_completion_tokens":
		return name
	}
	return "max_tokens"
}

// withoutSystem takes the system messages out of a conversation.
func withoutSystem(q *chat.Request) (*chat.Request, string) {
	rest := *q
	rest.Messages = nil
	var said []string
	for _, m := range q.Messages {
		if m.Role == chat.RoleSystem || m.Role == chat.RoleDeveloper {
			said = append(said, chat.Text(m.Parts))
			continue
		}
		rest.Messages = append(rest.Messages, m)
	}
	return &rest, strings.Join(said, "\n\n")
}

// prediction is what is told of one.
type prediction struct {
	ID      string          `json:"id"`
	Status  string          `json:"status"`
	Output  json.RawMessage `json:"output"`
	Error   json.RawMessage `json:"error"`
	Metrics struct {
		Input  *int64 `json:"input_token_count"`
		Output *int64 `json:"output_token_count"`
	} `json:"metrics"`
}

// read reads a prediction.
func read(body []byte) (*plain.Piece, *prediction, error) {
	var got prediction
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, nil, plain.Malformed(err)
	}
	p := &plain.Piece{ID: got.ID}
	switch got.Status {
	case "succeeded":
		var list []string
		if json.Unmarshal(got.Output, &p.Text) != nil && json.Unmarshal(got.Output, &list) == nil {
			p.Text = strings.Join(list, "")
		}
		p.Some, p.Finish = true, chat.FinishStop
		if in, out := got.Metrics.Input, got.Metrics.Output; in != nil && out != nil {
			p.Usage = llm.Usage{Input: tokens(*in), Output: tokens(*out), Source: llm.UsageProvider}
		}
	case "failed", "canceled", "aborted":
		p.Fault = "The prediction " + got.Status + "."
		var why string
		if json.Unmarshal(got.Error, &why) == nil && why != "" {
			p.Fault = "The prediction " + got.Status + ": " + why
		}
	}
	return p, &got, nil
}

func tokens(n int64) int64 { return max(0, min(n, llm.MaxTokenCount)) }

// pause is how long is waited between two questions.
const pause = 500 * time.Millisecond

// Follow is the question for a prediction that is not finished; nil: it is.
func (Chat) Follow(body []byte) (*llm.Step, error) {
	_, got, err := read(body)
	if err != nil {
		return nil, err
	}
	if got.Status != "starting" && got.Status != "processing" || got.ID == "" {
		return nil, nil
	}
	path := "/predictions/" + url.PathEscape(got.ID)
	return &llm.Step{Method: http.MethodGet, Path: path, Wait: pause, Cancel: path + "/cancel"}, nil
}

// DecodeResponse reads a prediction that is finished.
func (Chat) DecodeResponse(body []byte) (*chat.Response, error) {
	p, _, err := read(body)
	if err != nil {
		return nil, err
	}
	return p.Response()
}

// NewDecoder reads one stream, of which there are none.
func (Chat) NewDecoder() chat.Decoder {
	return &plain.Decoder{Read: func(data []byte) (*plain.Piece, error) {
		p, _, err := read(data)
		return p, err
	}}
}
