package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy/agent"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/proxy/translate"
	"github.com/conclave-llm/conclave/resource"
)

// maxRewrites bounds how often guardrails may send a request to another model.
const maxRewrites = 3

// choice is what the call and its holders say about its guardrails.
func (c *Call) choice() guardrail.Choice {
	out := policy.Choice(c.levels, c.who.Key, c.fields.Guardrails)
	if p := c.fields.Permissions; policy.CheckGuardrails(c.levels, p) == nil {
		out.On = append(out.On, p...)
	}
	return out
}

// guardBefore is the step that asks the guardrails about the request. A rewrite is a new
// request: everything that was decided about the old one is decided again.
func guardBefore(ctx context.Context, s *Server, c *Call) error {
	if err := policy.CheckGuardrails(c.levels, c.fields.Guardrails); err != nil {
		return err
	}
	if err := s.cfg.Guardrails.Wait(ctx); err != nil {
		return err
	}
	defer c.dueLogs()
	for range maxRewrites {
		asked := c.model
		c.guards = s.cfg.Guardrails.For(asked.Name, c.choice())
		if c.guards == nil {
			return nil
		}
		q := s.guardRequest(c, c.body)
		q.Open, q.Takes = c.open(), c.takes
		d, err := c.guards.Before(ctx, q)
		if err != nil {
			return err
		}
		c.judged(d.Results)
		c.added = append(c.added, d.Headers...)
		if err := c.blocked(d); err != nil {
			return err
		}
		switch d.Action {
		case guardrail.Answer:
			c.own = &d.Reply
			return nil
		case guardrail.Rewrite:
			if err := s.rewritten(ctx, c, d); err != nil {
				return err
			}
		}
		if c.model == asked {
			return nil
		}
	}
	return &llm.Error{
		Kind: llm.Internal, Code: "conclave_guardrail_loop", Message: "The guardrails keep changing the request's model.",
	}
}

// open is what guardrails may change of the request, if they may at all. A body that says nothing of a
// model, and a form, are as the client sent them.
func (c *Call) open() guardrail.Powers {
	open := guardrail.MayHeaders | guardrail.MayRefuse
	if !c.route.plain || c.use != nil {
		return open
	}
	open |= guardrail.MayModel | guardrail.MayTags
	if c.form == nil {
		open |= guardrail.MayParameters | guardrail.MayContent
	}
	if c.answerable() {
		open |= guardrail.MayAnswer
	}
	return open
}

// rewritten takes what guardrails made of the request in the place of the client's and decides again:
// what it may hold, whether the key may use the model, and whether limits and budget have room.
func (s *Server) rewritten(ctx context.Context, c *Call, d *guardrail.Decision) error {
	before, quoted, model := c.fields, c.quote, c.model
	if err := c.repeek(d.Body); err != nil {
		return err
	}
	switch {
	case d.Change.Model != "":
		c.named = d.Change.Model
	case c.fields.Model != before.Model:
		c.named = "" // the body decides now
	}
	tagged, err := s.retagged(c, &d.Change)
	if err != nil {
		return err
	}
	c.step = stepAccess
	if err := c.route.steps.access(ctx, s, c); err != nil {
		return err
	}
	c.estimate()
	if c.quote == quoted && c.model == model && !tagged {
		c.step = stepGuardrails
		return nil
	}
	c.release()
	c.step = stepLimits
	if err := reserveLimits(ctx, s, c); err != nil {
		return err
	}
	c.step = stepBudget
	if err := reserveBudget(ctx, s, c); err != nil {
		return err
	}
	c.step = stepGuardrails
	return nil
}

// repeek reads the body that guardrails have made of the client's.
func (c *Call) repeek(body []byte) error {
	before := c.fields
	named := before.HasMCP && agent.Named(c.body)
	if err := c.peek(body); err != nil {
		return guardFailed("A guardrail made a request that is not valid.", err)
	}
	if c.fields.Stream != before.Stream {
		return guardFailed("A guardrail may not change whether the answer streams.", nil)
	}
	// A rewrite chooses neither its judges nor for whom it is and how often it is tried.
	f := &c.fields
	f.Guardrails, f.Permissions, f.User, f.Tags = before.Guardrails, before.Permissions, before.User, before.Tags
	f.Timeout, f.Retries, f.HasRetries = before.Timeout, before.Retries, before.HasRetries
	f.Fallbacks, f.NoFallbacks, f.NoLog = c.wished, before.NoFallbacks, before.NoLog
	if f.HasMCP && !named && agent.Named(c.body) {
		return guardFailed("A guardrail made a request that names MCP servers.", nil)
	}
	return nil
}

// retagged takes the tags of a change, and lets the policies of all levels decide about the request as
// it is now; true: it passes other levels than before.
func (s *Server) retagged(c *Call, change *guardrail.Change) (bool, error) {
	c.step = stepPolicy
	if len(change.Tags) == 0 && !change.ReplaceTags {
		return false, s.checkRequest(c, nil)
	}
	had, header := c.fields.Tags, c.header
	tags := slices.Clone(had)
	if change.ReplaceTags {
		tags, header = nil, nil
	}
	for _, tag := range change.Tags {
		if !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	c.levels = slices.Clone(c.levels) // what is held knows the old ones
	if err := c.tag(header, tags); err != nil {
		return false, guardFailed("A guardrail gave the request a tag that is not valid.", err)
	}
	return !slices.Equal(had, c.fields.Tags), s.checkRequest(c, c.levels[c.chain:])
}

func guardFailed(message string, err error) error {
	return &llm.Error{Kind: llm.Internal, Code: "conclave_guardrail_failed", Message: message, Err: err}
}

// guardAfter asks the guardrails about a whole answer, and returns what the client may have.
func (s *Server) guardAfter(ctx context.Context, c *Call, answer []byte) ([]byte, error) {
	if c.guards == nil {
		return answer, nil
	}
	q := s.guardRequest(c, answer)
	q.Asked = c.body
	q.Open = guardrail.MayHeaders | guardrail.MayAnswer
	d, err := c.guards.After(ctx, q)
	if err != nil {
		return nil, err
	}
	c.judged(d.Results)
	c.added = append(c.added, d.Headers...)
	if err := c.blocked(d); err != nil {
		return nil, err
	}
	return d.Body, nil
}

// guardInfo is what guardrails are told about the call, and how they ask models on its account.
func (s *Server) guardInfo(c *Call) guardrail.Info {
	h := c.owners()
	return guardrail.Info{
		RequestID: c.id, Endpoint: c.route.endpoint.String(), Model: c.modelName(), KeyID: h.KeyID, TeamID: h.TeamID,
		User: c.fields.User, Stream: c.fields.Stream, Models: &lender{s, c},
	}
}

// guardRequest is a body of the call as guardrails are asked about it.
func (s *Server) guardRequest(c *Call, body []byte) *guardrail.Request {
	info := s.guardInfo(c)
	return &guardrail.Request{Info: info, Body: body, Teller: info.Models.(*lender)}
}

// guardStream is the streamed answer to the call as guardrails are asked about it.
func (s *Server) guardStream(c *Call) *guardrail.Request {
	q := s.guardRequest(c, nil)
	q.Asked = c.body
	q.Whole = translate.Assembler(c.route.endpoint)
	return q
}

// judged keeps what guardrails said, for the record.
func (c *Call) judged(results []guardrail.Result) {
	for i := range results {
		r := &results[i]
		c.verdicts = append(c.verdicts, ledger.GuardrailResult{
			Guardrail: r.Guardrail, Hook: string(r.Hook), Status: string(r.Status), Found: r.Found(),
		})
		if r.Err != nil && c.unasked == nil {
			c.unasked = fmt.Errorf("%s: %w", r.Guardrail, r.Err)
		}
	}
}

// statusDue is the status of a guardrail that will see the record.
const statusDue = "due"

// dueLogs notes the guardrails that see the record because the request asked for them.
func (c *Call) dueLogs() {
	for _, name := range c.guards.DueLogs() {
		c.verdicts = append(c.verdicts, ledger.GuardrailResult{Guardrail: name, Hook: string(resource.HookLogging), Status: statusDue})
	}
}

// decisive is the guardrail that blocked or answered, else the last that rewrote, else "".
func decisive(verdicts []ledger.GuardrailResult) string {
	name := ""
	for i := range verdicts {
		switch v := &verdicts[i]; guardrail.Status(v.Status) {
		case guardrail.StatusBlocked, guardrail.StatusAnswered:
			return v.Guardrail
		case guardrail.StatusRewritten:
			name = v.Guardrail
		}
	}
	return name
}

// blocked is the error of a decision that blocks, with the guardrail as its scope.
func (c *Call) blocked(d *guardrail.Decision) error {
	err := d.Err()
	if e, ok := errors.AsType[*llm.Error](err); ok {
		e.Scope = d.Guardrail
	}
	return err
}

// guardFailure shows an error to the guardrails that see errors, and returns it as the client gets it. The record
// keeps what it was. Strangers' errors, and those that nobody gets, are shown to none.
func (s *Server) guardFailure(c *Call, e *llm.Error) *llm.Error {
	if !s.cfg.Guardrails.Failures() || c.who == nil || c.cat == nil || c.judgeOf != nil || e.Kind == llm.Canceled {
		return e
	}
	set := s.cfg.Guardrails.For(c.modelName(), c.choice())
	if !set.Wants(resource.HookFailure) {
		return e
	}
	f := set.Failure(context.Background(), s.guardRequest(c, nil), guardrail.Failure{
		Status: e.HTTPStatus(), Code: reply.Code(e), Message: e.Message, Origin: c.originOf(e), Step: c.step,
	})
	c.judged(f.Results)
	c.added = append(c.added, f.Headers...)
	if !f.Changed {
		return e
	}
	said := *e // the one that came may be shared
	said.Status, said.Code, said.Message, said.Type, said.Body = f.Status, f.Code, f.Message, "", nil
	return &said
}

// originOf is who an error comes from.
func (c *Call) originOf(e *llm.Error) guardrail.Origin {
	switch {
	case e.Kind == llm.Blocked || e.Code == guardrail.CodeNotRun:
		return guardrail.OriginGuardrail
	case c.step == stepAnswer && c.result.attempts > 0 && len(c.tries) > 0 && c.tries[len(c.tries)-1].Status != 0:
		return guardrail.OriginProvider
	}
	return guardrail.OriginGateway
}
