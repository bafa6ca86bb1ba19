package proxy

import (
	"context"
	"slices"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/resource"
)

// mayMove says whether another model may be asked than the client named: it wants fallbacks, and nothing that the
// client has of the named one goes on in the request.
func (c *Call) mayMove() bool {
	return c.route.plain && c.use == nil && c.route.endpoint.Family() != llm.FamilySession && !c.fields.NoFallbacks
}

// takePlace moves a call for a model whose budget is spent to the first model that may take that one's place, that
// every level allows, and that limits and budgets have room for. It returns refusal, which is why the call was
// refused, if there is none.
func (s *Server) takePlace(ctx context.Context, c *Call, refusal error) error {
	names := c.insteadOf(reply.AsError(refusal))
	if len(names) == 0 {
		return refusal
	}
	asked := c.model
	for _, name := range names {
		m, err := policy.Model(c.cat, c.levels[:c.above], name)
		if err != nil || m.Name == asked.Name {
			continue
		}
		if s.move(ctx, c, m) {
			c.spent = asked
			return nil
		}
		if ctx.Err() != nil {
			refusal = gone(refusal)
			break
		}
	}
	if c.model != asked || c.limit == nil { // it is refused as what it asked for, and counted so
		c.stand(asked)
		_ = reserveLimits(ctx, s, c)
	}
	return refusal
}

// insteadOf are the models that may take the place of the call's: those that the holder of the refusing budget
// names, if that budget is one of single models. A budget of all that a holder spends has no other place to go.
func (c *Call) insteadOf(e *llm.Error) []string {
	if e.Kind != llm.OverBudget || e.Count == nil || e.Count.Late || e.Count.Part != "" {
		return nil
	}
	i := slices.IndexFunc(c.levels[:c.above], func(l resource.Level) bool { return l.Kind == e.Scope && l.ID == e.Entity })
	if i < 0 || c.levels[i].Policy == nil {
		return nil
	}
	p := c.levels[i].Policy
	names := p.InsteadOf(c.model.Name)
	if len(names) == 0 {
		return nil
	}
	all, _ := c.cat.Terms(p.Budgets, p.BudgetID)
	if !slices.ContainsFunc(all, func(t resource.Terms) bool {
		return t.Name == e.Count.Of && len(t.Models) > 0 && t.Counts(c.model.Name)
	}) {
		return nil
	}
	return names
}

// stand makes m the call's model; what was held for the one before is taken back.
func (c *Call) stand(m *resource.Model) {
	if c.limit != nil {
		c.limit.Withdraw()
		c.limit = nil
	}
	c.model = m
	c.levels = c.cat.ModelLevels(c.levels[:c.above], nil, m)
}

// move holds the call in the limits and budgets of another model; false: they have no room.
func (s *Server) move(ctx context.Context, c *Call, m *resource.Model) bool {
	c.stand(m)
	return reserveLimits(ctx, s, c) == nil && s.reserveMoney(ctx, c) == nil
}
