package proxy

import (
	"context"
	"errors"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/proxy/retry"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/translate"
	"github.com/conclave-llm/conclave/proxy/utility"
	"github.com/conclave-llm/conclave/proxy/view"
)

// countTokensRoute serves Anthropic's count of a request's tokens.
func countTokensRoute() (*Route, error) {
	return counting(inference(llm.CountTokens, "/v1/messages/count_tokens", "/messages/count_tokens", "/anthropic/v1/messages/count_tokens"))
}

// inputTokensRoute serves OpenAI's, for responses.
func inputTokensRoute() (*Route, error) {
	r, err := counting(openAI(llm.InputTokens, "/responses/input_tokens"))
	if err != nil {
		return nil, err
	}
	r.azure = []string{"/openai/responses/input_tokens"}
	return r, nil
}

// countContentRoute serves Google's.
func countContentRoute() (*Route, error) { return counting(google(llm.CountContent, "countTokens")) }

// counting makes a route of one that counts: what a provider cannot count in its own words, for it does not know
// the model or has none in its region, may not be asked, or does not answer, is counted here. So is what nobody can be
// asked for now.
func counting(r *Route, err error) (*Route, error) {
	if err != nil {
		return nil, err
	}
	r.steps.plan = planCount
	r.steps.answer = func(ctx context.Context, s *Server, c *Call) error {
		if len(c.plan) == 0 {
			_, _ = c.first() // whose tokenizer counts, if it has one
			return s.countHere(ctx, c)
		}
		err := dispatch(ctx, s, c)
		if err == nil || ctx.Err() != nil || c.result.begun || !c.estimates && !retry.WorthAnother(err) || reply.AsError(err).Kind == llm.Blocked {
			return err
		}
		return s.countHere(ctx, c)
	}
	return r, nil
}

// planCount is planAttempts for what can be answered here: that no deployment can be asked now is no reason to refuse it,
// that none may be asked is.
func planCount(ctx context.Context, s *Server, c *Call) error {
	err := planAttempts(ctx, s, c)
	if e, ok := errors.AsType[*llm.Error](err); ok && e.Kind == llm.Unavailable && e.Code != router.CodeNotAllowed {
		c.plan = nil
		return nil
	}
	return err
}

// counts says whether a deployment is asked at an endpoint for a count in other words than the client's.
func (c *Call) counts(at llm.Endpoint) bool {
	return at != c.route.endpoint && at.Family() == llm.FamilyCount
}

// toBeCounted is the question in the words of an endpoint. If nothing comes of it, the gateway counts.
func (c *Call) toBeCounted(d *view.Deployment, at llm.Endpoint) ([]byte, error) {
	if c.exchange == nil {
		in, _ := provider.CountInboundOf(c.route.endpoint) // Way has found it
		x, err := translate.Read(in, c.toCount(), c.asked(), false)
		if err != nil {
			return nil, err
		}
		c.exchange = x
	}
	out, _ := provider.CountOutboundOf(at)
	t := c.targetOf(d)
	return c.exchange.Count(out, &t)
}

// toCount is the request whose tokens are counted: the body, or in Google's dialect what it may hold.
func (c *Call) toCount() []byte {
	if c.route.endpoint != llm.CountContent {
		return c.body
	}
	k := llm.NewCursor(c.body)
	for n := 0; k.Member(n); n++ {
		name := string(k.Name())
		if v := k.Raw(); name == "generateContentRequest" || name == "generate_content_request" {
			return v
		}
	}
	return c.body
}

// countSaid says a provider's count in the client's dialect.
func (c *Call) countSaid(a *Answer, at llm.Endpoint) error {
	out, _ := provider.CountOutboundOf(at)
	n, err := out.DecodeResponse(a.Body)
	if err != nil {
		return err
	}
	a.Body, a.Header = countBody(c.route.endpoint, n), a.Header.Clone()
	a.Header.Del("Content-Type") // is the dialect's own
	a.Header.Del("Content-Length")
	return nil
}

// counters are what LiteLLM calls the providers that count themselves.
var counters = map[llm.Vendor]string{llm.VendorAnthropic: "anthropic_api", llm.VendorGoogle: "gemini", llm.VendorAmazon: "bedrock_api"}

// countAsked asks a deployment's provider how many tokens the request of a question has: one with contents is
// Google's, one with messages Anthropic's. nil: it does not count, or not this.
func (s *Server) countAsked(ctx context.Context, c *Call, d *view.Deployment) *utility.Count {
	own, asked := c.route, *c.route
	defer func() { c.route = own }()
	c.route = &asked
	switch {
	case llm.Has(c.body, "contents"):
		asked.endpoint = llm.CountContent
	case llm.Has(c.body, "messages"):
		asked.endpoint = llm.CountTokens
	default:
		return nil
	}
	way, ok := d.Way(asked.endpoint)
	if !ok {
		return nil
	}
	a, err := s.prepare(c, d, way)
	if err != nil {
		return nil
	}
	if f, err := llm.Peek(a.Body); err == nil && way.ModelInPath() {
		a.Body = llm.Rewrite(a.Body, &f, llm.Edits{DropModel: true})
	}
	got, err := s.ask(ctx, c, a)
	if got.Stream != nil {
		got.Stream.Close()
	}
	if err != nil || got.Stream != nil {
		return nil
	}
	out := utility.Count{RequestModel: c.asked(), ModelUsed: d.Name, TokenizerType: counters[way.Vendor()], Source: "exact", Original: got.Body}
	if s.reword(c, &got, way) != nil {
		return nil
	}
	n, ok := countIn(got.Body)
	out.Total = int(n)
	if !ok {
		return nil
	}
	return &out
}

// countIn is the number in a count of Anthropic's or Google's.
func countIn(body []byte) (tokens int64, ok bool) {
	k := llm.NewCursor(body)
	for n := 0; k.Member(n); n++ {
		switch string(k.Name()) {
		case "input_tokens", "totalTokens":
			tokens, ok = k.Int()
		default:
			k.Raw()
		}
	}
	return tokens, ok && tokens >= 0 && k.End() == nil
}

// countHere answers with the gateway's own estimate, and says so in a header: no provider counts
// the model's tokens. It asks nobody and costs nothing.
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
	if d == nil {
		return 0, false
	}
	if named, err := d.Tokenizer(); err != nil || named == nil {
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
