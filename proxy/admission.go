package proxy

import (
	"context"
	"slices"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/proxy/budget"
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
	cost     resource.Money // that is held
	free     bool
	unpriced bool
}

// estimate makes the quote of a call whose model is known. No tokenizer runs on the request's
// way; what exceeds the estimate is settled as an overrun.
func (s *Server) estimate(c *Call) {
	m := c.view.Model(c.model)
	f := &c.fields
	q := quote{free: m.Free, unpriced: m.Unpriced}
	q.raw = (f.PromptBytes-f.MediaBytes)/bytesPerToken + f.MediaBytes/mediaBytesPerToken + framingTokens
	q.prompt = int64(float64(q.raw) * m.Factor.Value())
	if c.route.endpoint != llm.Embeddings {
		q.output = f.MaxTokens
		if q.output == 0 {
			q.output = c.cat.Settings().DefaultOutputHold
			if m.MaxOutput > 0 {
				q.output = min(q.output, m.MaxOutput)
			}
		}
		q.output = product(q.output, max(1, f.N))
	}
	if c.route.endpoint == llm.Completions {
		q.output = product(q.output, prompts(c.body))
	}
	held := q.prompt
	if strict(c) {
		held = max(held, f.PromptBytes+framingTokens)
	}
	q.cost = pricing.Cost(m.At(held), llm.Usage{Input: held, Output: q.output})
	c.quote = q
}

// strict says whether one of the budgets wants the bound held, which is a token for each byte
// of the prompt: a tokenizer that works on bytes never makes more.
func strict(c *Call) bool {
	is := func(t resource.Terms) bool { return t.Strict }
	if key := c.who.Key; key != nil {
		if b, ok := c.cat.Budget(key.BudgetID); ok && b.Terms.Strict || slices.ContainsFunc(key.Budgets, is) {
			return true
		}
	}
	if team := c.who.Team; team != nil {
		b, ok := c.cat.Budget(team.BudgetID)
		return ok && b.Terms.Strict || slices.ContainsFunc(team.Budgets, is)
	}
	return false
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
	c.limit, c.quota, c.limited = hold, hold.Quota(), true
	return nil
}

// reserveBudget is the step that holds the estimated cost.
func reserveBudget(ctx context.Context, s *Server, c *Call) error {
	hold, err := s.cfg.Budgets.Reserve(ctx, budget.Request{
		Principal: c.who, Catalog: c.cat, Cost: c.quote.cost, Free: c.quote.free, Unpriced: c.quote.unpriced,
	})
	if err != nil {
		return err
	}
	c.money = hold
	return nil
}

// release ends what is held: what was settled stays settled, the rest is given back.
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
