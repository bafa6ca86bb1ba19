package proxy

import (
	"context"
	"slices"
	"sort"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/ratelimit"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/proxy/view"
	"github.com/conclave-llm/conclave/resource"
)

const (
	bytesPerToken      = 3  // of text, before the learned factor
	mediaBytesPerToken = 64 // of base64, which costs far fewer tokens than text
	framingTokens      = 16 // of roles and separators
	leastOutput        = 16 // tokens that a clamped request must still be allowed
)

// quote is what a request is estimated to use and to cost.
type quote struct {
	raw      int64 // prompt tokens before the learned factor
	prompt   int64
	held     int64 // prompt tokens that money is held for
	output   int64
	choices  int64           // completions that share output; 0: it has none
	cost     resource.Money  // that is held
	media    int64           // of held, tokens of audio and images
	service  llm.Service     // that is asked for
	unknown  *resource.Price // what an unknown price is taken for; nil: nothing
	free     bool
	unpriced bool
}

// estimate makes the quote of a call whose model is known. No tokenizer runs on the request's
// way; what exceeds the estimate is settled as an overrun.
func (s *Server) estimate(c *Call) {
	m := c.view.Model(c.model)
	f := &c.fields
	q := quote{free: m.Free, unpriced: m.Unpriced}
	most := m.MaxOutput
	for _, name := range f.Fallbacks {
		if v := c.standIn(name); v != nil {
			q.free, q.unpriced, most = q.free && v.Free, q.unpriced || v.Unpriced, max(most, v.MaxOutput)
		}
	}
	q.raw = (f.PromptBytes-f.MediaBytes)/bytesPerToken + f.MediaBytes/mediaBytesPerToken + framingTokens
	q.prompt = int64(float64(q.raw) * m.Factor.Value())
	if c.route.endpoint != llm.Embeddings {
		q.output = f.MaxTokens
		if q.output == 0 {
			q.output = c.cat.Settings().DefaultOutputHold
			if most > 0 {
				q.output = min(q.output, most)
			}
		}
		q.choices = max(1, f.N)
	}
	if c.route.endpoint == llm.Completions {
		q.choices = product(q.choices, prompts(c.body))
	}
	q.output = product(q.output, max(1, q.choices))
	q.held = q.prompt
	if strict(c) {
		q.held = max(q.held, f.PromptBytes+framingTokens)
	}
	q.media, q.service = f.MediaBytes/mediaBytesPerToken, f.Service
	if q.unpriced && anyTerms(c, func(t resource.Terms) bool { return t.Unpriced == resource.UnpricedEstimate }) {
		q.unknown = c.cat.Settings().UnknownPrice
	}
	q.cost = c.costAt(&q, q.output)
	c.quote, c.clamp = q, 0
}

// costAt is what the request costs at most with so many tokens of output, whoever answers.
func (c *Call) costAt(q *quote, output int64) resource.Money {
	return max(c.knownAt(q, output), pricing.Hold(q.unknown, resource.Adjustment{}, q.at(output)))
}

// at is what the request is expected to use with so many tokens of output.
func (q *quote) at(output int64) pricing.Held {
	return pricing.Held{Prompt: q.held, Media: q.media, Output: output, Service: q.service}
}

// knownAt is costAt without what an unknown price is taken for.
func (c *Call) knownAt(q *quote, output int64) resource.Money {
	h := q.at(output)
	cost := c.view.Model(c.model).Hold(h)
	for _, name := range c.fields.Fallbacks {
		if v := c.standIn(name); v != nil {
			cost = max(cost, v.Hold(h))
		}
	}
	return cost
}

// standIn is the view of a model that the client wants to fall back to.
func (c *Call) standIn(name string) *view.Model {
	m, ok := c.cat.Resolve(name)
	if !ok {
		return nil
	}
	return c.view.Model(m)
}

// strict says whether one of the budgets wants the bound held, which is a token for each byte
// of the prompt: a tokenizer that works on bytes never makes more.
func strict(c *Call) bool {
	return anyTerms(c, func(t resource.Terms) bool { return t.Strict })
}

// anyTerms says whether one of the budgets has terms of a kind.
func anyTerms(c *Call, is func(resource.Terms) bool) bool {
	for i := range c.levels {
		a := c.levels[i].Allowance
		if b, ok := c.cat.Budget(a.BudgetID); ok && is(b.Terms) || slices.ContainsFunc(a.Budgets, is) {
			return true
		}
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

// reserveLimits is the step that holds the request and its tokens in the limits of the levels
// that it passes.
func reserveLimits(ctx context.Context, s *Server, c *Call) error {
	s.estimate(c)
	c.limiting = ratelimit.Request{Levels: c.levels, Model: c.model.Name, Session: c.session, Input: c.quote.prompt, Output: c.quote.output}
	hold, err := s.cfg.Limits.Reserve(ctx, &c.limiting)
	if err != nil {
		return err
	}
	c.limit, c.quota, c.limited = hold, hold.Quota(), true
	return nil
}

// reserveBudget is the step that holds the estimated cost. If that does not fit, but the
// budget says clamp and has room, the request's maximum is lowered to what does.
func reserveBudget(ctx context.Context, s *Server, c *Call) error {
	hold, err := s.cfg.Budgets.Reserve(ctx, c.claim())
	if err != nil && reply.AsError(err).Kind == llm.OverBudget && s.lower(c) {
		hold, err = s.cfg.Budgets.Reserve(ctx, c.claim())
	}
	if err != nil {
		return err
	}
	c.money = hold
	return nil
}

// claim is what the call asks of the budgets.
func (c *Call) claim() budget.Request {
	q := &c.quote
	most := budget.Amounts{Cost: q.cost, Tokens: q.prompt + q.output, GPU: c.view.Model(c.model).GPUs(q.at(q.output))}
	if q.unknown != nil { // for the budgets that say estimate, and for no other
		most.Estimate, most.Cost = q.cost, c.knownAt(q, q.output)
	}
	return budget.Request{
		Catalog: c.cat, Levels: c.levels, Model: c.model.Name, Session: c.session,
		Most: most, Free: q.free, Unpriced: q.unpriced,
	}
}

// lower lowers the call's maximum to what the budgets that say clamp have room for; false: it
// cannot be, or there is too little.
func (s *Server) lower(c *Call) bool {
	if c.quote.choices == 0 || c.quote.unpriced {
		return false
	}
	room, ok := s.cfg.Budgets.Room(c.claim())
	if !ok {
		return false
	}
	q := c.quote
	most := int(q.output/q.choices - leastOutput)
	// The first number of tokens above the least that costs too much.
	over := sort.Search(max(0, most), func(n int) bool {
		output := product(int64(n)+leastOutput, q.choices)
		return q.prompt+output > room.Tokens || c.costAt(&q, output) > room.Cost
	})
	if over == 0 || most <= 0 {
		return false
	}
	c.clamp = int64(over) - 1 + leastOutput
	q.output = product(c.clamp, q.choices)
	q.cost = c.costAt(&q, q.output)
	c.quote = q
	return true
}

// release ends what is held: what was settled stays settled, the rest is given back.
func (c *Call) release() {
	if c.extra != nil {
		c.extra.Release() // the money goes with all that is held
		c.extra = nil
	}
	if c.limit != nil {
		c.limit.Release()
		c.limit = nil
	}
	if c.money != nil {
		c.money.Release()
		c.money = nil
	}
}
