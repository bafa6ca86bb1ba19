package proxy

import (
	"context"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/ratelimit"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/resource"
)

// extend reserves what an attempt alone falls under: the limits and budgets of its deployment
// and, where it is a fallback, of that model and of its access groups which the request is not under already, and those of single models that its levels
// have for it. The journal learns of it before anything can be
// spent. An error says that this deployment has no room; another may have.
func (s *Server) extend(ctx context.Context, c *Call, t *router.Target) error {
	c.retract()
	levels := c.further[:0]
	var own []resource.Level
	if m := t.Model; m != c.model {
		if levels = c.cat.ModelLevels(levels, c.levels, m); m.IsZero() {
			levels = levels[1:] // its groups alone limit something
		}
		own = c.bounding(m.Name)
	}
	if d := t.Deployment; !d.IsZero() {
		levels = append(levels, resource.Level{Kind: resource.HolderDeployment, ID: d.ID, Name: d.Name, Allowance: &d.Allowance})
	}
	if len(levels)+len(own) > 0 {
		if err := s.reserveFurther(ctx, c, t, levels, own); err != nil {
			return err
		}
	}
	if !c.unsaid {
		return nil
	}
	if err := s.cfg.Journal.Amend(c.entry, c.holds()); err != nil {
		return &llm.Error{
			Kind: llm.Unavailable, Code: "conclave_journal_unavailable", RetryAfter: time.Second,
			Message: "This node cannot record what the request will spend.", Err: err,
		}
	}
	c.unsaid = false
	return nil
}

// bounding are the levels of the request that have budgets or limits of single models for a model.
func (c *Call) bounding(model string) (all []resource.Level) {
	for i := range c.levels[:c.above] {
		l := &c.levels[i]
		if l.Allowance == nil {
			continue
		}
		_, bounds := c.cat.ModelLimits(l.Allowance, model)
		terms, _ := c.cat.Terms(l.Allowance.Budgets, l.Allowance.BudgetID)
		if bounds || slices.ContainsFunc(terms, func(t resource.Terms) bool { return len(t.Models) > 0 && t.Counts(model) }) {
			all = append(all, *l)
		}
	}
	return all
}

// reserveFurther reserves in the limits and budgets of the levels, and in what own have for the model, or in none.
func (s *Server) reserveFurther(ctx context.Context, c *Call, t *router.Target, levels, own []resource.Level) error {
	c.limiting = ratelimit.Request{Catalog: c.cat, Levels: levels, Counted: own, Model: t.Model.Name, Input: c.quote.Prompt, Output: c.quote.Output}
	hold, err := s.cfg.Limits.Reserve(ctx, &c.limiting)
	if err != nil {
		return err
	}
	if len(own) > 0 {
		levels = append(own, levels...)
	}
	if err := c.money.Extend(ctx, t.Model.Name, levels...); err != nil {
		hold.Release()
		return err
	}
	c.extra, c.unsaid = hold, true
	return nil
}

// retract gives back what the attempt before had reserved for itself, which cost nothing.
func (c *Call) retract() {
	if c.extra == nil {
		return
	}
	c.extra.Release()
	c.money.Drop()
	c.extra, c.unsaid = nil, true
}
