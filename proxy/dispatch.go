package proxy

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/bedrock"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/proxy/retry"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/proxy/view"
	"github.com/conclave-llm/conclave/resource"
)

// longestTimeout bounds what a client may ask for.
const longestTimeout = time.Hour

// planAttempts is the step that chooses the deployments to try, in order.
func planAttempts(ctx context.Context, s *Server, c *Call) error {
	f := &c.fields
	plan, err := s.cfg.Router.Plan(c.cat, c.model, router.Query{
		Levels: c.levels[:c.above], SessionID: cmp.Or(c.session, f.CacheKey),
		Fallbacks: f.Fallbacks, NoFallbacks: f.NoFallbacks, Retries: f.Retries, HasRetries: f.HasRetries,
		Filter: s.routerFilter(ctx, c),
	})
	if err != nil {
		return err
	}
	if c.spent != nil { // which may be a fallback of the model in its place
		plan = slices.DeleteFunc(plan, func(t router.Target) bool { return t.Model.Name == c.spent.Name })
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
		if again := retry.Repeats(c.plan[:i], t); again > 0 {
			if err := retry.Pause(ctx, again, last); err != nil {
				if ctx.Err() != nil {
					return gone(err)
				}
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
		if c.result.begun || !retry.WorthAnother(last) {
			return last
		}
		if !retry.WorthRepeating(last) {
			hopeless = append(hopeless, t.Deployment)
		}
	}
	return last
}

// attempt asks one deployment. Whatever happens, the flight ends once and the upstream stops.
func (s *Server) attempt(ctx context.Context, c *Call) (err error) {
	t := &c.result.target
	d := c.view.Deployment(t)
	if d.Err != nil {
		return retry.Unusable("The deployment cannot be used.", d.Err)
	}
	way, ok := c.way(d)
	if !ok {
		return s.unserved(ctx, c)
	}
	c.estimates = c.counts(way)
	if err := s.spell(ctx, c, d, way); err != nil {
		return err
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
	if way.Family() == llm.FamilySession {
		return s.converse(ctx, c, d, asked, flight)
	}
	return s.request(ctx, of, c, d, asked, way, flight)
}

// request sends an attempt and hands on its answer. of is the attempt's context, which may outlive
// the client's.
func (s *Server) request(ctx, of context.Context, c *Call, d *view.Deployment, asked *upstream.Attempt, way llm.Endpoint, flight router.Flight) error {
	s.billDeleted(ctx, c)
	answer, way, err := s.exchange(of, c, d, asked, way)
	c.result.answered = s.now()
	c.result.waited += c.result.answered.Sub(c.result.began)
	if err != nil {
		return c.said(err, way)
	}
	s.billResults(ctx, c)
	c.rename(&answer)
	if answer.Stream != nil {
		defer answer.Stream.Close()
		c.result.raw = answer.Raw
		c.fields.Stream = c.fields.Stream || c.route.prefix != nil && !answer.Raw
	}
	s.hear(c, &answer)
	if err := s.reword(c, &answer, way); err != nil {
		return err
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

// way is the endpoint at which the deployment is asked.
func (c *Call) way(d *view.Deployment) (llm.Endpoint, bool) {
	if c.route.prefix != nil {
		return c.route.endpoint, true
	}
	if c.route.endpoint == llm.Invoke && d.Provider.Serves(llm.Invoke) && !bedrock.Invokes(d.Name, d.Account.Or().Options, c.body) {
		return d.Provider.Translation(llm.Invoke)
	}
	return d.Way(c.route.endpoint)
}

// unserved answers for an endpoint that the deployment does not serve: counts are made here.
func (s *Server) unserved(ctx context.Context, c *Call) error {
	if c.route.endpoint.Family() == llm.FamilyCount {
		return s.countHere(ctx, c)
	}
	return &llm.Error{
		Kind: llm.NotFound, Code: "endpoint_not_supported", Param: "model",
		Message: "The model " + strconv.Quote(c.result.target.Model.Name) + " does not serve " + c.route.endpoint.String() + ".",
	}
}

// exchange sends the attempt: again where the provider has forgotten the turn that it goes on
// from, and at another endpoint where the address has not the one it was asked at.
func (s *Server) exchange(ctx context.Context, c *Call, d *view.Deployment, asked *upstream.Attempt, way llm.Endpoint) (Answer, llm.Endpoint, error) {
	answer, err := s.ask(ctx, c, asked)
	if c.turn.Forgotten(err) {
		if asked, err = s.prepare(c, d, way); err != nil {
			return answer, way, err
		}
		answer, err = s.ask(ctx, c, asked)
	}
	other, ok := d.Other(c.route.endpoint, err)
	if !ok || way != c.route.endpoint {
		return answer, way, err
	}
	if err = s.spell(ctx, c, d, other); err != nil {
		return answer, way, err
	}
	if asked, err = s.prepare(c, d, other); err != nil {
		return answer, way, err
	}
	if answer, err = s.ask(ctx, c, asked); err == nil {
		d.Learn()
	}
	return answer, other, err
}

// reword says the answer in the client's dialect, where it came in another.
func (s *Server) reword(c *Call, a *Answer, way llm.Endpoint) error {
	switch {
	case c.route.endpoint.Family() == llm.FamilyEmbedding:
		return s.vectorsOf(c, a)
	case c.isTask(way):
		return s.taskSaid(c, a)
	case c.counts(way):
		return c.countSaid(a, way)
	case way != c.route.endpoint:
		return s.translate(c, a, way)
	case c.fields.Stream && a.Stream == nil && c.converses():
		return s.asStream(c, a, way)
	case a.Stream != nil && c.written != nil:
		c.hearStream(a)
	}
	return nil
}

// prepare makes the attempt at the provider's endpoint at: the client's bytes, with the few
// changes that the deployment needs made in place, or what they say in the provider's dialect.
func (s *Server) prepare(c *Call, d *view.Deployment, at llm.Endpoint) (*upstream.Attempt, error) {
	if c.route.prefix != nil {
		return s.preparePass(c, d)
	}
	if c.isTask(at) {
		return s.prepareTask(c, d, at)
	}
	if at.Family() == llm.FamilySession {
		return s.prepareSession(c, d, at), nil
	}
	var raw []byte
	var hide bool
	var pieces [][]byte
	var err error
	if c.form != nil {
		if pieces, err = c.formAt(d.Name, nil); err != nil {
			return nil, err
		}
		c.lent = true
	} else if raw, hide, err = s.bodyFor(c, d, at); err != nil {
		return nil, err
	}
	c.lent = c.lent || c.buf != nil && c.buf.Holds(raw)
	timers := d.Timers
	timers.Total = s.timeout(c, d)
	c.attempt = upstream.Attempt{
		Provider: d.Provider, Endpoint: at, Base: d.Base, Model: d.Name, Plugin: d.Plugin, ID: c.id, Account: d.Account, Body: raw, Stream: c.fields.Stream,
		HideUsage: hide, Waits: c.waits, Timeouts: timers, Link: d.Link, Header: c.betas(forwarded(c, d.Provider, at), d),
	}
	if at.Family() == llm.FamilyMedia {
		c.attempt.Opaque, c.attempt.Pieces = true, pieces
		if c.form != nil {
			c.attempt.Type = c.form.Type()
		}
	}
	c.attempt.MaxBody = c.readAtMost()
	return &c.attempt, nil
}

// readAtMost is how many bytes of a whole answer are read, 0 for as many as usual: also of one that is larger than the client
// may have, because it says what was used.
func (c *Call) readAtMost() int64 {
	if c.most > upstream.DefaultMaxBody {
		return c.most
	}
	return 0
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
	if c.route.endpoint == llm.Realtime {
		o.Tokens = 0 // a session's time is not that of an answer
	}
	if err == nil {
		return o
	}
	if c.estimates { // that it does not count says nothing of its answers
		o.OK, o.Kind = false, llm.Canceled
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
