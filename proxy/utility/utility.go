// Package utility answers LiteLLM's questions about requests that are not sent: how many tokens
// one has, and what becomes of it on its way to a provider. It does no I/O.
package utility

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/llm/tokenize"
	"github.com/conclave-llm/conclave/provider"
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
	c, err := d.Tokenizer()
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
	if e, ok := errors.AsType[*llm.Error](err); ok && e.Code == llm.CodeNoBlob {
		return &llm.Error{Kind: e.Kind, Code: e.Code, Message: "The model's custom_tokenizer cannot be used: " + e.Message, RetryAfter: e.RetryAfter, Err: err}
	}
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
		at = llm.Completions
	case llm.Has(body, "input") && !llm.Has(body, "messages"):
		at = llm.Responses
	case llm.Has(body, "system"):
		at = llm.Messages
	case !llm.Has(body, "messages"):
		return 0, &llm.Error{Kind: llm.Invalid, Code: "missing_required_parameter", Param: "messages", Message: "The request must have messages, contents or a prompt."}
	}
	return TokensAt(t, at, body)
}

// TokensAt counts the prompt of a request to an endpoint, of conversations or of embeddings. Errors are *llm.Error of
// kind Invalid.
func TokensAt(t tokenize.Tokenizer, at llm.Endpoint, body []byte) (int, error) {
	if at == llm.Completions {
		return countPrompt(t, body)
	}
	if in, ok := provider.EmbedInboundOf(at); ok {
		q, err := in.DecodeRequest(body)
		if err != nil {
			return 0, err
		}
		return countInputs(t, q)
	}
	in, ok := provider.InboundOf(at)
	if !ok {
		return counted(0, errors.New("nobody reads requests to "+at.String()))
	}
	q, err := in.DecodeRequest(body)
	if err != nil {
		return 0, err
	}
	return counted(tokenize.CountRequest(t, q))
}

// countInputs counts what becomes vectors. Tokens are counted already.
func countInputs(t tokenize.Tokenizer, q *embed.Request) (int, error) {
	total := 0
	for i := range q.Inputs {
		in := &q.Inputs[i]
		if in.Raw != nil {
			return counted(0, errors.New("its inputs are not texts alone"))
		}
		n, err := counted(t.Count(in.Text))
		if err != nil {
			return 0, err
		}
		total += n + len(in.Tokens)
	}
	return total, nil
}

func counted(n int, err error) (int, error) {
	if err != nil {
		return 0, &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: "messages", Message: "The request cannot be counted: " + err.Error() + "."}
	}
	return n, nil
}

// countPrompt counts a text, or a list of texts, of tokens or of lists of tokens. Tokens are counted already.
func countPrompt(t tokenize.Tokenizer, body []byte) (int, error) {
	var request struct {
		Prompt json.RawMessage `json:"prompt"`
	}
	var text string
	if err := json.Unmarshal(body, &request); err == nil && json.Unmarshal(request.Prompt, &text) == nil {
		return counted(t.Count(text))
	}
	bad := &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: "prompt", Message: "The prompt must be a text, or a list of texts, of tokens or of lists of tokens."}
	var list []json.RawMessage
	if json.Unmarshal(request.Prompt, &list) != nil {
		return 0, bad
	}
	total := 0
	for _, one := range list {
		var tokens []int64
		switch {
		case json.Unmarshal(one, &text) == nil:
			n, err := counted(t.Count(text))
			if err != nil {
				return 0, err
			}
			total += n
		case json.Unmarshal(one, &tokens) == nil:
			total += len(tokens)
		case json.Unmarshal(one, new(int64)) == nil:
			total++
		default:
			return 0, bad
		}
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

// BadCallType is the error of a call type that is not known.
func BadCallType(name string) error {
	return &llm.Error{
		Kind: llm.Invalid, Code: "invalid_value", Param: "call_type",
		Message: "The call type " + strconv.Quote(name) + " is none of completion, text_completion, embedding, responses and anthropic_messages.",
	}
}
