package proxy

import (
	"context"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/quote"
	"github.com/conclave-llm/conclave/proxy/ratelimit"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/resource"
)

// quoting is the call as an estimate sees it.
func (c *Call) quoting() quote.Request {
	return quote.Request{
		Catalog: c.cat, View: c.view, Model: c.model, Levels: c.levels, Session: c.session,
		Endpoint: c.billed(), Fields: &c.fields, Body: c.body, Form: c.form, Upload: c.uploads(),
	}
}

// estimate makes the quote of a call whose model is known.
func (c *Call) estimate() {
	r := c.quoting()
	c.quote, c.clamp = quote.Of(&r), 0
	if c.flat > 0 {
		c.quote.Flat(c.flat)
	}
}

// reserveLimits is the step that holds the request and its tokens in the limits of the levels
// that it passes.
func reserveLimits(ctx context.Context, s *Server, c *Call) error {
	c.estimate()
	c.limiting = ratelimit.Request{
		Catalog: c.cat, Levels: c.levels, Model: c.model.Name, Session: c.session, Tags: c.fields.Tags, Input: c.quote.Prompt, Output: c.quote.Output,
	}
	hold, err := s.cfg.Limits.Reserve(ctx, &c.limiting)
	if err != nil {
		return err
	}
	c.limit, c.quota, c.limited = hold, hold.Quota(), true
	return nil
}

// reserveBudget is the step that holds the estimated cost, of the model that was asked for or, where the budget of
// that is spent, of one that takes its place.
func reserveBudget(ctx context.Context, s *Server, c *Call) error {
	err := s.reserveMoney(ctx, c)
	if err != nil && c.mayMove() {
		return s.takePlace(ctx, c, err)
	}
	return err
}

// reserveMoney holds the estimated cost. If that does not fit, but the budget says clamp and has room, the
// request's maximum is lowered to what does.
func (s *Server) reserveMoney(ctx context.Context, c *Call) error {
	r := c.quoting()
	if err := checkPriced(c, &r); err != nil {
		return err
	}
	claim := r.Claim(&c.quote)
	if c.owed { // the order itself costs nothing
		claim.Most, claim.Free, c.quote.Cost = budget.Amounts{}, true, 0
	}
	hold, err := s.cfg.Budgets.Reserve(ctx, claim)
	if err != nil && reply.AsError(err).Kind == llm.OverBudget && s.lower(c, &r) {
		hold, err = s.cfg.Budgets.Reserve(ctx, r.Claim(&c.quote))
	}
	if err != nil && c.stays(reply.AsError(err)) {
		hold, err = s.cfg.Budgets.Reserve(ctx, r.Claim(&c.quote))
	}
	if err != nil {
		return err
	}
	c.money = hold
	return nil
}

// stays makes a call that a budget of money has refused one that no other model may answer, where its own costs nothing: that is
// answered whatever is left of budgets. false: it costs something itself.
func (c *Call) stays(e *llm.Error) bool {
	if e.Kind != llm.OverBudget || e.Count == nil || e.Count.Unit != string(resource.UnitUSD) || c.fields.NoFallbacks || c.flat > 0 ||
		!c.view.Alone(c.model).Costless() {
		return false
	}
	c.fields.NoFallbacks = true
	c.estimate()
	return true
}

// lower lowers the call's maximum to what the budgets that say clamp have room for; false: it
// cannot be, or there is too little.
func (s *Server) lower(c *Call, r *quote.Request) bool {
	if !c.quote.Clampable() || c.route.prefix != nil || c.route.endpoint == llm.Invoke && c.fields.MaxTokens == 0 {
		return false // what is relayed as it is keeps its maximum
	}
	room, ok := s.cfg.Budgets.Room(r.Claim(&c.quote))
	if !ok {
		return false
	}
	c.clamp = r.Clamp(&c.quote, room)
	return c.clamp > 0
}

// settingUnpriced refuses models whose price is not known.
const settingUnpriced = "block_requests_for_models_without_pricing"

// checkPriced refuses a request whose price is not known, where the cluster wants that.
func checkPriced(c *Call, r *quote.Request) error {
	if !c.cat.Settings().BlockUnpriced || c.flat > 0 || !r.Claim(&c.quote).Unpriced {
		return nil
	}
	return &llm.Error{
		Kind: llm.Forbidden, Code: "model_unpriced", Param: "model", NoRetry: true,
		Count:   &llm.Count{Of: settingUnpriced, Part: llm.PartUnpriced},
		Message: "The model " + strconv.Quote(c.model.Name) + " has no known price, and the cluster refuses such models.",
	}
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
	c.releaseAdvances()
}
