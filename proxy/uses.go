package proxy

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/realtime"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/proxy/router"
)

// maxVerdicts bounds the verdicts of one record of a session.
const maxVerdicts = 64

// Sessions opens sessions at providers; *upstream.Client is one.
type Sessions = realtime.Opener

// session is one session as package realtime asks the data path about it. Each of its uses is a
// call of its own, on the newest catalog.
type session struct {
	s      *Server
	from   *Call // the handshake, which lives as long as the session
	first  *use
	judged atomic.Bool

	mu       sync.Mutex // guards what follows
	uses     int
	verdicts []ledger.GuardrailResult // about what the client said, for the next record
}

// use is one use, and what it is to be.
type use struct {
	of     *session
	call   *Call
	target router.Target
	ask    realtime.Ask
}

func newSession(s *Server, c *Call) *session {
	g := &session{s: s, from: c, uses: 1}
	g.first = &use{of: g, call: c, target: c.result.target}
	g.judged.Store(c.guards != nil)
	return g
}

// next makes the call of one more use.
func (g *session) next(a realtime.Ask) *use {
	g.mu.Lock()
	g.uses++
	n := g.uses
	g.mu.Unlock()
	c := g.s.calls.Get().(*Call)
	u := &use{of: g, call: c, target: g.first.target, ask: a}
	c.came = came{
		id: g.from.id + "." + strconv.Itoa(n), route: g.from.route, path: g.from.path, query: g.from.query, peer: g.from.peer,
		header: g.from.header, out: reply.Silent{}, started: g.s.now(),
	}
	c.grant, c.use = g.from.grant, u
	return u
}

// take takes the use's call through some steps of its route.
func (u *use) take(ctx context.Context, names ...string) error {
	s, c := u.of.s, u.call
	if c.cat == nil {
		if err := s.cfg.Serving(); err != nil {
			return notServing(err)
		}
		c.cat = s.cfg.Catalog()
	}
	for _, st := range c.route.steps.list() {
		for _, name := range names {
			if st.name != name || st.take == nil {
				continue
			}
			c.step = st.name
			if err := st.take(ctx, s, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// admission are the steps that say who may do what.
var admission = []string{stepAuth, stepBody, stepPolicy, stepAccess}

// Admit implements realtime.Gate.
func (g *session) Admit(ctx context.Context, a realtime.Ask) (realtime.Use, error) {
	u := g.next(a)
	err := u.take(ctx, admission...)
	if err == nil {
		err = u.reserve(ctx)
	}
	if err == nil {
		err = u.take(ctx, stepGuardrails, stepPlan, stepLedger)
	}
	c := u.call
	if err == nil {
		c.step = stepAnswer
		c.result.target = c.plan[0]
		if err = g.s.extend(ctx, c, &c.result.target); a.Owed {
			err = nil
		}
	}
	if err != nil {
		return nil, g.refuse(c, err)
	}
	c.quote.Raw = 0 // the estimate is not one of a prompt's bytes
	return u, nil
}

// reserve holds what the use may take, or nothing for one that happens whatever is held.
func (u *use) reserve(ctx context.Context) error {
	if !u.ask.Owed {
		return u.take(ctx, stepLimits, stepBudget)
	}
	s, c := u.of.s, u.call
	c.estimate()
	c.limit = noLimit{}
	hold, err := s.cfg.Budgets.Reserve(ctx, budget.Request{Catalog: c.cat, Levels: c.levels, Model: c.model.Name, Session: c.session, Free: true})
	c.money = hold
	return err
}

// noLimit is the hold of what no limit counts.
type noLimit struct{}

// Quota implements LimitHold.
func (noLimit) Quota() Quota { return Quota{LimitRequests: -1, LimitTokens: -1} }

// Settle implements LimitHold.
func (noLimit) Settle(int64, int64) {}

// Release implements LimitHold.
func (noLimit) Release() {}

// Withdraw implements LimitHold.
func (noLimit) Withdraw() {}

// refuse ends a call that was refused, and returns why as the client may hear it.
func (g *session) refuse(c *Call, err error) error {
	e := g.s.final(c, err)
	g.s.finish(c, e)
	g.s.recycle(c)
	return e
}

// Check implements realtime.Gate.
func (g *session) Check(ctx context.Context) error {
	u := g.next(realtime.Ask{})
	defer g.s.recycle(u.call)
	if err := u.take(ctx, append(admission, stepGuardrails)...); err != nil {
		return g.s.final(u.call, err)
	}
	g.judged.Store(u.call.guards != nil)
	return nil
}

// Judged implements realtime.Gate.
func (g *session) Judged() bool { return g.judged.Load() }

// Before implements realtime.Gate.
func (g *session) Before(ctx context.Context, said []byte) ([]byte, error) {
	return g.judge(ctx, said, (*guardrail.Set).Before)
}

// After implements realtime.Gate.
func (g *session) After(ctx context.Context, said []byte) ([]byte, error) {
	return g.judge(ctx, said, (*guardrail.Set).After)
}

func (g *session) judge(ctx context.Context, said []byte, ask func(*guardrail.Set, context.Context, *guardrail.Request) (*guardrail.Decision, error)) ([]byte, error) {
	u := g.next(realtime.Ask{})
	c := u.call
	if err := u.take(ctx, append(admission, stepGuardrails)...); err != nil {
		return nil, g.refuse(c, err)
	}
	d, err := ask(c.guards, ctx, g.s.guardRequest(c, said))
	if err == nil {
		c.judged(d.Results)
		err = c.blocked(d)
	}
	if err != nil {
		return nil, g.refuse(c, err)
	}
	g.mu.Lock()
	if len(g.verdicts) < maxVerdicts {
		g.verdicts = append(g.verdicts, c.verdicts...)
	}
	g.mu.Unlock()
	g.s.recycle(c)
	return d.Body, nil
}

// Clamp implements realtime.Use.
func (u *use) Clamp() int64 { return u.call.clamp }

// Begin implements realtime.Use.
func (u *use) Begin() {
	c := u.call
	now := u.of.s.now()
	if u != u.of.first {
		c.started = now
	}
	c.result.attempts, c.result.began, c.result.dialled = 1, now, now
}

// Stream implements realtime.Use.
func (u *use) Stream(ctx context.Context) (*guardrail.StreamCheck, error) {
	return u.call.guards.Stream(ctx, u.of.s.guardRequest(u.call, nil))
}

// Settle implements realtime.Use.
func (u *use) Settle(r realtime.Result) {
	g, c := u.of, u.call
	g.mu.Lock()
	c.verdicts = append(c.verdicts, g.verdicts...)
	g.verdicts = nil
	g.mu.Unlock()
	c.judged(r.Verdicts)
	c.result.usage, c.result.firstToken, c.other = r.Usage, r.FirstToken, r.Model
	c.result.status, c.result.begun = 200, true
	if r.Usage.Source == llm.UsageNone {
		c.result.attempts = 0 // nothing was used
	} else if c.result.attempts == 0 {
		u.Begin()
	}
	var e *llm.Error
	if r.Err != nil {
		e = g.s.final(c, r.Err)
		c.result.status = e.HTTPStatus()
	}
	g.s.settle(c, e)
	if u != g.first { // the handshake ends with the session
		g.s.observe(c, e)
		g.s.recycle(c)
	}
}
