package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/conclave-llm/conclave/llm"
)

// pipeline takes a call through the steps of its route. It takes the catalog once: every
// step sees the same state. What the steps hold is given back by finish, not here.
func (s *Server) pipeline(ctx context.Context, c *Call) error {
	if err := s.cfg.Serving(); err != nil {
		return notServing(err)
	}
	c.cat = s.cfg.Catalog()
	for _, st := range c.route.steps.list() {
		if st.take == nil {
			continue // the route says why
		}
		if c.own != nil && st.name == stepPlan {
			continue // nobody is asked
		}
		c.step = st.name
		take := st.take
		if c.own != nil && st.name == stepAnswer {
			take = answerOwn
		}
		if err := take(ctx, s, c); err != nil {
			return err
		}
	}
	return nil
}

// notServing is what a client is told by a node that must not serve: why, if it is for good.
func notServing(err error) error {
	if e, ok := errors.AsType[*llm.Error](err); ok && e.Code != "stale" {
		return e
	}
	return &llm.Error{
		Kind: llm.Unavailable, Code: "conclave_stale", RetryAfter: time.Second,
		Message: "This node has not heard from the cluster for too long.", Err: err,
	}
}
