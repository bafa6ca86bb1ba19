package bedrock

import (
	"encoding/base64"
	"errors"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/anthropic"
)

// Count is the form in which the tokens of a request are counted, CountTokens, as Amazon's public reference of
// Bedrock's runtime and its SDKs of 2026 have it; it was not tried at Amazon. It costs nothing, and models that
// cannot be counted, or not in the region, are refused (ValidationException).
type Count struct{}

// countTokens is the end of its path.
const countTokens = "/count-tokens"

// converseMembers are what it takes of a request for Converse.
var converseMembers = map[string]bool{"messages": true, "system": true, "toolConfig": true, "additionalModelRequestFields": true}

// EncodeRequest writes a request for the provider: what Converse would be sent, or, of a model that is asked with
// InvokeModel, what that would be.
func (Count) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	if Row(t.Model) == RowAnthropic {
		return invoked(q, t)
	}
	raw, err := Format{}.EncodeRequest(q, t)
	if err != nil {
		return nil, err
	}
	dst := append(make([]byte, 0, len(raw)+32), `{"input":{"converse":{`...)
	c := llm.NewCursor(raw)
	for n := 0; c.Member(n); n++ {
		name := string(c.Name())
		if v := c.Raw(); converseMembers[name] {
			dst = append(llm.AppendKey(dst, name), v...)
		}
	}
	return append(dst, "}}}"...), nil
}

// invoked writes the body of InvokeModel, in base64.
func invoked(q *chat.Request, t *llm.Target) ([]byte, error) {
	req := *q
	req.Stream = false
	raw, err := anthropic.Format{}.EncodeRequest(&req, t)
	if err != nil {
		return nil, err
	}
	body := append(make([]byte, 0, len(raw)+64), `{"anthropic_version":"`+Version+`"`...)
	c := llm.NewCursor(raw)
	for n := 0; c.Member(n); n++ {
		name := string(c.Name())
		if v := c.Raw(); name != "model" {
			body = append(llm.AppendKey(body, name), v...)
		}
	}
	dst := append(make([]byte, 0, 2*len(body)), `{"input":{"invokeModel":{"body":"`...)
	return append(base64.StdEncoding.AppendEncode(dst, append(body, '}')), `"}}}`...), nil
}

var errUncounted = errors.New("it has no number of tokens")

// DecodeResponse reads an answer: {"inputTokens":12}.
func (Count) DecodeResponse(body []byte) (tokens int64, err error) {
	c := llm.NewCursor(body)
	found := false
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) != "inputTokens" {
			c.Raw()
			continue
		}
		v, ok := c.Int()
		tokens, found = v, ok && v >= 0 && v <= llm.MaxTokenCount
	}
	switch err := c.End(); {
	case err != nil:
		return 0, malformed(err)
	case !found:
		return 0, malformed(errUncounted)
	}
	return tokens, nil
}

// areas begin the names of inference profiles that lead to a model in one of several regions.
var areas = map[string]bool{"us": true, "eu": true, "apac": true, "global": true, "us-gov": true, "jp": true, "au": true, "ca": true, "sa": true}

// countable is the name of a model under which its tokens are counted: its own, for inference profiles are
// refused. base is the option base_model, which counts for an ARN that does not name the model.
func countable(model, base string) string {
	if base != "" {
		model = base
	}
	if strings.HasPrefix(model, "arn:") {
		_, name, ok := strings.Cut(model, ":foundation-model/")
		if !ok {
			_, name, ok = strings.Cut(model, ":inference-profile/")
		}
		if !ok {
			return model
		}
		model = name
	}
	if area, own, ok := strings.Cut(model, "."); ok && areas[area] {
		return own
	}
	return model
}
