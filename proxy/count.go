package proxy

import (
	"context"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/modelfile"
	"github.com/conclave-llm/conclave/proxy/utility"
)

// countTokensRoute serves Anthropic's count of a request's tokens.
func countTokensRoute() (*Route, error) {
	return inference(llm.CountTokens, "/v1/messages/count_tokens", "/messages/count_tokens", "/anthropic/v1/messages/count_tokens")
}

// inputTokensRoute serves OpenAI's, for responses.
func inputTokensRoute() (*Route, error) { return openAI(llm.InputTokens, "/responses/input_tokens") }

// countContentRoute serves Google's.
func countContentRoute() (*Route, error) { return google(llm.CountContent, "countTokens") }

// countHere answers with the gateway's own estimate, and says so in a header: the provider does
// not count in the client's dialect. It asks nobody and costs nothing.
func (s *Server) countHere(ctx context.Context, c *Call) error {
	if n, ok := s.countExactly(ctx, c); ok {
		return s.say(ctx, c, countBody(c.route.endpoint, n))
	}
	c.out.Header()["X-Conclave-Token-Count"] = []string{"estimated"}
	return s.say(ctx, c, countBody(c.route.endpoint, c.quote.Counted))
}

// countExactly counts with the tokenizer that was configured for the model, if one was and it can read
// the request.
func (s *Server) countExactly(ctx context.Context, c *Call) (int64, bool) {
	d := c.result.target.Deployment
	if named, err := modelfile.TokenizerOf(d); err != nil || named == nil {
		return 0, false
	}
	t, _, err := utility.Tokenizer(ctx, s.cfg.Tokenizers, d, c.modelName())
	if err != nil {
		return 0, false
	}
	n, err := utility.Tokens(t, c.body)
	return int64(n), err == nil
}

// countBody is a count in the client's dialect.
func countBody(e llm.Endpoint, tokens int64) []byte {
	name := `{"input_tokens":`
	switch e {
	case llm.CountContent:
		name = `{"totalTokens":`
	case llm.InputTokens:
		name = `{"object":"response.input_tokens","input_tokens":`
	}
	return append(strconv.AppendInt([]byte(name), tokens, 10), '}')
}
