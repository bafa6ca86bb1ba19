package proxy

import (
	"context"

	"github.com/conclave-llm/conclave/llm"
)

// maxRewrites bounds how often guardrails may send a request to another model.
const maxRewrites = 3

// guardBefore is the step that asks the guardrails about the request. A rewrite is a new
// request: everything that was decided about the old one is decided again.
func guardBefore(ctx context.Context, s *Server, c *Call) error {
	if s.cfg.Guardrails == nil {
		return nil
	}
	for range maxRewrites {
		asked := c.model
		set, err := s.cfg.Guardrails.For(asked.Name, c.fields.Guardrails)
		if err != nil || set == nil {
			return err
		}
		c.guards = set
		v, err := set.Before(ctx, c.guardRequest())
		if err != nil {
			return err
		}
		switch v.Action {
		case Block:
			return c.blocked(v.Guardrail, v.Message)
		case Rewrite:
			if err := s.rewritten(ctx, c, v); err != nil {
				return err
			}
		}
		if c.model == asked {
			return nil
		}
	}
	return &llm.Error{Kind: llm.Internal, Code: "conclave_guardrail_loop", Message: "The guardrails keep changing the request's model."}
}

// rewritten takes a guardrail's body in the place of the client's and decides again: what it
// may hold, whether the key may use the model, and whether limits and budget have room.
func (s *Server) rewritten(ctx context.Context, c *Call, v *Verdict) error {
	before, quoted := c.fields, c.quote
	if err := c.peek(v.Body); err != nil {
		return &llm.Error{Kind: llm.Internal, Code: "conclave_guardrail_failed", Message: "A guardrail made a request that is not valid.", Err: err}
	}
	if c.fields.Stream != before.Stream {
		return &llm.Error{Kind: llm.Internal, Code: "conclave_guardrail_failed", Message: "A guardrail may not change whether the answer streams."}
	}
	c.fields.Guardrails = before.Guardrails // a rewrite does not choose its judges
	if c.fields.Model != before.Model {
		c.named = "" // the body decides now
	}
	if err := authorize(ctx, s, c); err != nil {
		return err
	}
	s.estimate(c)
	if c.quote == quoted {
		return nil
	}
	c.release()
	if err := reserveLimits(ctx, s, c); err != nil {
		return err
	}
	return reserveBudget(ctx, s, c)
}

func (c *Call) guardRequest() *GuardRequest {
	return &GuardRequest{RequestID: c.id, Endpoint: c.route.endpoint, Model: c.model.Name, Principal: c.who, Body: c.body}
}

// blocked notes who blocked the request.
func (c *Call) blocked(guardrail, message string) error {
	c.result.guardrail = guardrail
	if message == "" {
		message = "The request was blocked by a guardrail."
	}
	return &llm.Error{Kind: llm.Blocked, Scope: guardrail, Message: message, NoRetry: true}
}
