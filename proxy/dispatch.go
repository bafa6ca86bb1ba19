package proxy

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/openai"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/proxy/view"
	"github.com/conclave-llm/conclave/resource"
)

// What is waited before the same deployment is asked again.
const (
	firstPause   = 500 * time.Millisecond
	longestPause = 8 * time.Second
)

// codeUnusable is the code of a deployment whose own record is at fault.
const codeUnusable = "conclave_deployment_unusable"

// longestTimeout bounds what a client may ask for.
const longestTimeout = time.Hour

// planAttempts is the step that chooses the deployments to try, in order.
func planAttempts(_ context.Context, s *Server, c *Call) error {
	f := &c.fields
	plan, err := s.cfg.Router.Plan(c.cat, c.model, router.Query{
		Levels: c.levels[:c.above], SessionID: cmp.Or(c.session, f.CacheKey),
		Fallbacks: f.Fallbacks, NoFallbacks: f.NoFallbacks, Retries: f.Retries, HasRetries: f.HasRetries,
	})
	if err != nil {
		return err
	}
	if len(plan) == 0 {
		return &llm.Error{Kind: llm.Unavailable, Code: "no_deployment", Message: "The model has no deployment that can answer.", RetryAfter: time.Second}
	}
	c.plan = plan
	return nil
}

// dispatch is the step that makes attempts until one answers. Another is made only while the
// client has not got a byte, is still there, and the failure is not its own.
func dispatch(ctx context.Context, s *Server, c *Call) error {
	var last error
	var hopeless []*resource.Deployment // that no second attempt can help
	for i := range c.plan {
		t := &c.plan[i]
		if slices.Contains(hopeless, t.Deployment) {
			continue
		}
		if again := repeats(c.plan[:i], t); again > 0 {
			if err := pause(ctx, again, last); err != nil {
				return err
			}
		}
		if err := s.extend(ctx, c, t); err != nil {
			if ctx.Err() != nil {
				return gone(err)
			}
			last = err
			hopeless = append(hopeless, t.Deployment)
			continue
		}
		c.result.attempts++
		c.result.target, c.result.began = *t, time.Time{}
		began := s.now()
		last = s.attempt(ctx, c)
		c.tried(t, s.now().Sub(began), last)
		if last == nil {
			return nil
		}
		if ctx.Err() != nil {
			return gone(last)
		}
		if c.result.begun || !worthAnother(last) {
			return last
		}
		if !worthRepeating(last) {
			hopeless = append(hopeless, t.Deployment)
		}
	}
	return last
}

// repeats counts the attempts at the target's deployment among those before.
func repeats(before []router.Target, t *router.Target) int {
	n := 0
	for i := range before {
		if before[i].Deployment == t.Deployment {
			n++
		}
	}
	return n
}

// pause waits before a deployment is asked again: for as long as it said, or longer each
// time. A deployment that wants to be left alone for longer than that is not asked again:
// the client learns how long.
func pause(ctx context.Context, again int, last error) error {
	wait := min(firstPause<<(again-1), longestPause)
	if asked := reply.AsError(last).RetryAfter; asked > longestPause {
		return last
	} else if asked > 0 {
		wait = asked
	}
	wait += rand.N(firstPause / 2) //nolint:gosec // spreads retries, guards nothing
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return gone(ctx.Err())
	}
}

// worthAnother says whether another deployment may do better.
func worthAnother(err error) bool {
	switch e := reply.AsError(err); e.Kind {
	case llm.RateLimited, llm.Unavailable, llm.Upstream, llm.Timeout:
		return true
	case llm.Unauthenticated, llm.Forbidden, llm.NotFound:
		return true // the deployment's credential or model, for the client's own were checked before
	case llm.Invalid:
		return e.Code == llm.CodeUnsayable || e.Code == llm.CodeUnsupported // by this provider
	default:
		return false
	}
}

// worthRepeating says whether the same deployment may do better the next time.
func worthRepeating(err error) bool {
	switch e := reply.AsError(err); e.Kind {
	case llm.RateLimited, llm.Unavailable, llm.Timeout:
		return e.Code != codeUnusable
	case llm.Upstream:
		return e.Code != openai.CodeCredentials
	default:
		return false
	}
}

// attempt asks one deployment. Whatever happens, the flight ends once and the upstream stops.
func (s *Server) attempt(ctx context.Context, c *Call) (err error) {
	t := &c.result.target
	d := c.view.Deployment(t)
	if d.Err != nil {
		return &llm.Error{Kind: llm.Unavailable, Code: codeUnusable, Message: "The deployment cannot be used.", Err: d.Err}
	}
	way, ok := d.Way(c.route.endpoint)
	if !ok && c.route.endpoint.Family() == llm.FamilyCount {
		return s.countHere(ctx, c)
	}
	if !ok {
		return &llm.Error{
			Kind: llm.NotFound, Code: "endpoint_not_supported", Param: "model",
			Message: "The model " + strconv.Quote(t.Model.Name) + " does not serve " + c.route.endpoint.String() + ".",
		}
	}
	asked, err := s.prepare(c, d, way)
	if err != nil {
		return err
	}
	flight := s.cfg.Router.Begin(t.Deployment.ID)
	began := s.now()
	defer func() {
		flight.End(s.outcome(ctx, c, began, err))
	}()
	c.result.began = began
	if c.result.dialled.IsZero() {
		c.result.dialled = began
	}
	of := ctx // the attempt's
	if d.Drain > 0 {
		var end func()
		of, end = s.drains.Begin(ctx, d.Drain)
		defer end()
	}
	answer, err := s.ask(of, c, asked)
	if c.turn.Forgotten(err) {
		if asked, err = s.prepare(c, d, way); err != nil {
			return err
		}
		answer, err = s.ask(of, c, asked)
	}
	if other, ok := d.Other(c.route.endpoint, err); ok && way == c.route.endpoint {
		if asked, err = s.prepare(c, d, other); err != nil {
			return err
		}
		way = other
		if answer, err = s.cfg.Upstream.Do(of, asked); err == nil {
			d.Learn()
		}
	}
	c.result.answered = s.now()
	c.result.waited += c.result.answered.Sub(began)
	if err != nil {
		return c.said(err, way)
	}
	if answer.Stream != nil {
		defer answer.Stream.Close()
		c.result.raw = answer.Raw
	}
	if c.route.endpoint.Family() == llm.FamilyEmbedding {
		if err := s.vectorsOf(c, &answer); err != nil {
			return err
		}
	} else if way != c.route.endpoint {
		if err := c.translate(&answer, way); err != nil {
			return err
		}
	}
	c.nameTurn(&answer)
	if answer.Stream != nil {
		err = s.relay(ctx, c, &answer, flight)
		if d.Drain > 0 && (ctx.Err() != nil || c.unsent != nil) {
			s.readOut(c, answer.Stream, flight)
		}
		return c.said(err, way)
	}
	return s.answer(ctx, c, &answer)
}

// prepare makes the attempt at the provider's endpoint at: the client's bytes, with the few
// changes that the deployment needs made in place, or what they say in the provider's dialect.
func (s *Server) prepare(c *Call, d *view.Deployment, at llm.Endpoint) (*upstream.Attempt, error) {
	var raw []byte
	var hide bool
	var pieces [][]byte
	var err error
	if c.form != nil {
		pieces = c.formAt(d)
		c.lent = true
	} else if raw, hide, err = s.bodyFor(c, d, at); err != nil {
		return nil, err
	}
	c.lent = c.lent || c.buf != nil && c.buf.Holds(raw)
	timers := d.Timers
	timers.Total = s.timeout(c, d)
	c.attempt = upstream.Attempt{
		Provider: d.Provider, Endpoint: at, Base: d.Base, Model: d.Name, Account: d.Account, Body: raw, Stream: c.fields.Stream,
		HideUsage: hide, Waits: c.waits, Timeouts: timers, Link: d.Link, Header: forwarded(c, d.Provider, at),
	}
	if at.Family() == llm.FamilyMedia {
		c.attempt.Opaque, c.attempt.Pieces = true, pieces
		if c.form != nil {
			c.attempt.Type = c.form.Type()
		}
	}
	if c.most > upstream.DefaultMaxBody {
		c.attempt.MaxBody = c.most
	}
	return &c.attempt, nil
}

// timeout is an attempt's: the deployment's, the model's or the setting, which a client may shorten; where
// neither has one, the client may also ask for more.
func (s *Server) timeout(c *Call, d *view.Deployment) time.Duration {
	switch wish := c.fields.Timeout; {
	case wish > 0 && d.Timers.Total > 0:
		return min(wish, d.Timers.Total)
	case wish > 0:
		return min(wish, max(longestTimeout, s.cfg.Timeout))
	case d.Timers.Total > 0:
		return d.Timers.Total
	default:
		return s.cfg.Timeout
	}
}

// outcome is what the router learns of an attempt.
func (s *Server) outcome(ctx context.Context, c *Call, began time.Time, err error) router.Outcome {
	o := router.Outcome{OK: true, Elapsed: s.now().Sub(began), Tokens: c.result.usage.Completion()}
	if err == nil {
		return o
	}
	e := reply.AsError(err)
	if e.Kind == llm.Blocked || e.Code == policy.CodeResponse { // the deployment did its part
		return o
	}
	o.OK, o.Kind, o.Status, o.RetryAfter = false, e.Kind, e.Status, e.RetryAfter
	if ctx.Err() != nil {
		o.Kind, o.Status = llm.Canceled, 0
	}
	return o
}
