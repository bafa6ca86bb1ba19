// Package utility answers LiteLLM's questions about requests that are not sent: how many tokens
// one has, and which of OpenAI's parameters a provider takes. It does no I/O.
package utility

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/llm/tokenize"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/modelfile"
	"github.com/conclave-llm/conclave/resource"
)

// Count is LiteLLM's answer to a question for tokens.
type Count struct {
	Total         int             `json:"total_tokens"`
	RequestModel  string          `json:"request_model"`
	ModelUsed     string          `json:"model_used"`
	TokenizerType string          `json:"tokenizer_type"`    // openai_tokenizer, huggingface_tokenizer, or of who counts itself anthropic_api, gemini or bedrock_api
	Source        string          `json:"count_source"`      // exact, or estimated with another maker's tokenizer
	Original      json.RawMessage `json:"original_response"` // of a provider that was asked; nil: none was
	Error         bool            `json:"error"`
	ErrorMessage  *string         `json:"error_message"`
	StatusCode    *int            `json:"status_code"`
}

// Files reads tokenizers from tokenizer.json files by their digests.
type Files func(ctx context.Context, digest string) (tokenize.Tokenizer, error)

// Tokenizer is that of a deployment's model: what model_info.custom_tokenizer in its metadata
// names, else the model's own, else the nearest. exact says that it is the model's. One that is
// named and cannot be had is an *llm.Error, and never replaced.
func Tokenizer(ctx context.Context, files Files, d *resource.Deployment, model string) (t tokenize.Tokenizer, exact bool, err error) {
	c, err := modelfile.TokenizerOf(d)
	if err != nil {
		return nil, false, unavailable(err)
	}
	switch {
	case c == nil:
		t, exact = tokenize.ForModel(model)
		return t, exact, nil
	case c.Blob != "" && files == nil:
		return nil, false, unavailable(errors.New("this node reads no files"))
	case c.Blob != "":
		t, err = files(ctx, c.Blob)
	default:
		t, err = tokenize.Get(c.Name())
	}
	if err != nil {
		return nil, false, unavailable(err)
	}
	return t, true, nil
}

func unavailable(err error) error {
	return &llm.Error{
		Kind: llm.Unavailable, Code: "tokenizer_unavailable", NoRetry: true, Err: err,
		Message: "The model's custom_tokenizer cannot be used: " + err.Error() + ".",
	}
}

// Tokens counts a body with messages (of OpenAI's or of Anthropic's dialect), contents, the input of a
// response or a prompt. Errors are *llm.Error of kind Invalid.
func Tokens(t tokenize.Tokenizer, body []byte) (int, error) {
	at := llm.Chat
	switch {
	case llm.Has(body, "contents"):
		at = llm.GenerateContent
	case llm.Has(body, "prompt"):
		return countPrompt(t, body)
	case llm.Has(body, "input") && !llm.Has(body, "messages"):
		at = llm.Responses
	case llm.Has(body, "system"):
		at = llm.Messages
	case !llm.Has(body, "messages"):
		return 0, &llm.Error{Kind: llm.Invalid, Code: "missing_required_parameter", Param: "messages", Message: "The request must have messages, contents or a prompt."}
	}
	in, _ := provider.InboundOf(at)
	q, err := in.DecodeRequest(body)
	if err != nil {
		return 0, err
	}
	return counted(tokenize.CountRequest(t, q))
}

func counted(n int, err error) (int, error) {
	if err != nil {
		return 0, &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: "messages", Message: "The request cannot be counted: " + err.Error() + "."}
	}
	return n, nil
}

// countPrompt counts a text or a list of texts.
func countPrompt(t tokenize.Tokenizer, body []byte) (int, error) {
	var one struct {
		Prompt string `json:"prompt"`
	}
	if json.Unmarshal(body, &one) == nil {
		return counted(t.Count(one.Prompt))
	}
	var many struct {
		Prompt []string `json:"prompt"`
	}
	if json.Unmarshal(body, &many) != nil {
		return 0, &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: "prompt", Message: "The prompt must be a text or a list of texts."}
	}
	total := 0
	for _, text := range many.Prompt {
		n, err := counted(t.Count(text))
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// CallType is the endpoint of one of LiteLLM's call types; false if there is none.
func CallType(name string) (llm.Endpoint, bool) {
	switch name {
	case "", "completion", "acompletion":
		return llm.Chat, true
	case "text_completion", "atext_completion":
		return llm.Completions, true
	case "embedding", "aembedding":
		return llm.Embeddings, true
	case "responses", "aresponses":
		return llm.Responses, true
	case "anthropic_messages":
		return llm.Messages, true
	}
	return 0, false
}

// everything is a request that uses each of OpenAI's parameters.
func everything() *chat.Request {
	one, some, yes := 0.5, int64(7), true
	return &chat.Request{
		Messages:  []chat.Message{{Role: chat.RoleUser, Parts: []chat.Part{{Text: "x"}}}},
		MaxTokens: 5, Temperature: &one, TopP: &one, FrequencyPenalty: &one, PresencePenalty: &one, Stop: []string{"x"}, Seed: &some, N: 2,
		LogProbs: true, TopLogProbs: 2, LogitBias: json.RawMessage(`{"1":1}`),
		Tools: []chat.Tool{{Name: "f", Parameters: json.RawMessage(`{"type":"object"}`)}}, ToolChoice: chat.ToolChoice{Mode: "auto"}, ParallelTools: &yes,
		Format: chat.Format{Type: "json_object"}, Reasoning: chat.Reasoning{Effort: "low"}, User: "u", ServiceTier: "auto",
		Modalities: []string{"text"}, Prediction: json.RawMessage(`{"type":"content","content":"x"}`), WebSearch: json.RawMessage(`{}`),
	}
}

// chatParams are OpenAI's parameters of chat completions that a provider may or may not take.
var chatParams = []string{
	"frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "max_tokens", "max_completion_tokens", "modalities", "prediction", "n",
	"presence_penalty", "seed", "stop", "stream", "stream_options", "temperature", "top_p", "tools", "tool_choice",
	"parallel_tool_calls", "response_format", "user", "service_tier", "reasoning_effort", "web_search_options",
}

// Params lists OpenAI's parameters that reach a provider's model, in chat completions. One that
// cannot be said in its dialect does not.
func Params(p *provider.Provider, model string) []string {
	at, ok := p.Way(llm.Chat)
	if !ok {
		return []string{}
	}
	var dropped []string
	if at != llm.Chat {
		out, _ := provider.OutboundOf(at)
		dropped = droppedBy(out, model)
	}
	if p.NoStreamOptions {
		dropped = append(dropped, "stream_options")
	}
	list := slices.DeleteFunc(slices.Clone(chatParams), func(name string) bool { return slices.Contains(dropped, name) })
	slices.Sort(list)
	return list
}

// AllParams lists those that Params looks for.
func AllParams() []string { return slices.Sorted(slices.Values(chatParams)) }

// droppedBy are the parameters that a dialect leaves out. One by whose sake the whole request is
// refused is left out of the next try.
func droppedBy(out provider.Outbound, model string) []string {
	q, lost := everything(), []string(nil)
	for range 4 {
		t := &llm.Target{Model: model, MaxOutput: 4096}
		_, err := out.EncodeRequest(q, t)
		if err == nil {
			return append(lost, t.Dropped()...)
		}
		e, ok := err.(*llm.Error) //nolint:errorlint // writers return it as it is
		if !ok || !without(q, e.Param) {
			return append(lost, t.Dropped()...)
		}
		lost = append(lost, e.Param)
	}
	return lost
}

// without takes a parameter out of a request; false if it is none that can be refused.
func without(q *chat.Request, param string) bool {
	switch param {
	case "n":
		q.N = 0
	case "tools":
		q.Tools, q.ToolChoice, q.ParallelTools = nil, chat.ToolChoice{}, nil
	case "response_format":
		q.Format = chat.Format{}
	case "web_search_options":
		q.WebSearch = nil
	case "modalities":
		q.Modalities = nil
	default:
		return false
	}
	return true
}

// BadCallType is the error of a call type that is not known.
func BadCallType(name string) error {
	return &llm.Error{
		Kind: llm.Invalid, Code: "invalid_value", Param: "call_type",
		Message: "The call type " + strconv.Quote(name) + " is none of completion, text_completion, embedding, responses and anthropic_messages.",
	}
}
