package proxy

import (
	"context"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

const (
	bytesPerToken      = 3  // of text, before the learned factor
	mediaBytesPerToken = 64 // of base64, which costs far fewer tokens than text
	framingTokens      = 16 // of roles and separators
)

// quote is what a request is estimated to use and to cost.
type quote struct {
	raw      int64 // prompt tokens before the learned factor
	prompt   int64
	output   int64
	cost     resource.Money
	strict   resource.Money // with a token for each byte of the prompt
	free     bool
	unpriced bool
}

// estimate makes the quote of a call whose model is known. No tokenizer runs on the request's
// way; what exceeds the estimate is settled as an overrun.
func (s *Server) estimate(c *Call) {
	m := s.modelView(c)
	f := &c.fields
	q := quote{free: m.free, unpriced: m.unpriced}
	q.raw = (f.PromptBytes-f.MediaBytes)/bytesPerToken + f.MediaBytes/mediaBytesPerToken + framingTokens
	q.prompt = int64(float64(q.raw) * m.factor.value())
	if c.route.endpoint != llm.Embeddings {
		q.output = f.MaxTokens
		if q.output == 0 {
			q.output = c.cat.Settings().DefaultOutputHold
		}
		q.output = product(q.output, max(1, f.N))
	}
	q.cost = s.cfg.Pricer.Cost(&m.worst, llm.Usage{Input: q.prompt, Output: q.output})
	q.strict = s.cfg.Pricer.Cost(&m.worst, llm.Usage{Input: f.PromptBytes + framingTokens, Output: q.output})
	c.quote = q
}

// product multiplies counts of tokens without overflowing.
func product(a, b int64) int64 {
	if a > llm.MaxTokenCount/b {
		return llm.MaxTokenCount
	}
	return a * b
}

// reserveLimits is the step that holds the request and its tokens in the key's and the
// team's limits.
func reserveLimits(ctx context.Context, s *Server, c *Call) error {
	s.estimate(c)
	hold, err := s.cfg.Limits.Reserve(ctx, c.who, c.quote.prompt+c.quote.output)
	if err != nil {
		return err
	}
	c.limit = hold
	return nil
}

// reserveBudget is the step that holds the estimated cost.
func reserveBudget(ctx context.Context, s *Server, c *Call) error {
	hold, err := s.cfg.Budgets.Reserve(ctx, BudgetRequest{
		Principal: c.who, Catalog: c.cat, Cost: c.quote.cost, Strict: c.quote.strict,
		Free: c.quote.free, Unpriced: c.quote.unpriced,
	})
	if err != nil {
		return err
	}
	c.money = hold
	return nil
}

// release gives back what is held, so that it can be decided again.
func (c *Call) release() {
	if c.limit != nil {
		c.limit.Release()
		c.limit = nil
	}
	if c.money != nil {
		c.money.Release()
		c.money = nil
	}
}
