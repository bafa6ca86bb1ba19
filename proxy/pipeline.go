package proxy

import (
	"context"
	"time"

	"github.com/conclave-llm/conclave/llm"
)

// pipeline takes a call through the steps of its route. It takes the catalog once: every
// step sees the same state. What the steps hold is given back by finish, not here.
func (s *Server) pipeline(ctx context.Context, c *Call) error {
	if err := s.cfg.Serving(); err != nil {
		return &llm.Error{
			Kind: llm.Unavailable, Code: "conclave_stale", RetryAfter: time.Second,
			Message: "This node has not heard from the cluster for too long.", Err: err,
		}
	}
	c.cat = s.cfg.Catalog()
	st := &c.route.steps
	if err := st.auth(ctx, s, c); err != nil {
		return err
	}
	c.view = s.view.Of(c.cat)
	if err := st.body(ctx, s, c); err != nil {
		return err
	}
	if err := st.policy(ctx, s, c); err != nil {
		return err
	}
	if err := st.access(ctx, s, c); err != nil {
		return err
	}
	if err := st.limits(ctx, s, c); err != nil {
		return err
	}
	if err := st.budget(ctx, s, c); err != nil {
		return err
	}
	if err := st.guardrails(ctx, s, c); err != nil {
		return err
	}
	if err := st.plan(ctx, s, c); err != nil {
		return err
	}
	if err := st.ledger(ctx, s, c); err != nil {
		return err
	}
	return st.answer(ctx, s, c)
}
