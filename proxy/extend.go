package proxy

import (
	"context"

	"github.com/conclave-llm/conclave/proxy/ratelimit"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/resource"
)

// extend reserves what an attempt alone falls under: the limits and budgets of its deployment
// and, where it is a fallback, of that model. An error says that this deployment has no room;
// another may have.
func (s *Server) extend(ctx context.Context, c *Call, t *router.Target) error {
	c.retract()
	levels := c.further[:0]
	if m := t.Model; m != c.model && !m.Allowance.IsZero() {
		levels = append(levels, resource.Level{Kind: resource.HolderModel, ID: m.ID, Name: m.Name, Allowance: &m.Allowance})
	}
	if d := t.Deployment; !d.Allowance.IsZero() {
		levels = append(levels, resource.Level{Kind: resource.HolderDeployment, ID: d.ID, Name: d.Name, Allowance: &d.Allowance})
	}
	if len(levels) == 0 {
		return nil
	}
	c.limiting = ratelimit.Request{Levels: levels, Model: t.Model.Name, Input: c.quote.prompt, Output: c.quote.output}
	hold, err := s.cfg.Limits.Reserve(ctx, &c.limiting)
	if err != nil {
		return err
	}
	if err := c.money.Extend(ctx, levels...); err != nil {
		hold.Release()
		return err
	}
	c.extra = hold
	return nil
}

// retract gives back what the attempt before had reserved for itself, which cost nothing.
func (c *Call) retract() {
	if c.extra == nil {
		return
	}
	c.extra.Release()
	c.extra = nil
	c.money.Drop()
}
