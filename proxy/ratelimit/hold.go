package ratelimit

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// State is how a limit stood when the request was admitted, for x-ratelimit-* headers.
type State struct {
	Limit     int64
	Remaining int64
	Reset     time.Duration // until all of it is free again
}

// Hold is one admitted request: what it counts in each limit.
type Hold struct {
	l       *Limiter
	uses    []use
	settled bool
	states  [dimensions]State // of the tightest limit
	has     [dimensions]bool
}

// use is the part of a Hold in one limit.
type use struct {
	id    uint64
	dim   dimension
	cost  int64
	owned bool // the owner counted it
}

// none is the Hold of requests without limits. It is never changed.
var none Hold

// Reserve counts the request and its tokens in every limit of its levels, or in none. It
// returns an *llm.Error: RateLimited with RetryAfter, and the headers that tell of the limit,
// or Canceled. Where other nodes may hold what is left it waits up to 300 ms. The caller
// calls Release once, after Settle if the request was sent.
func (l *Limiter) Reserve(ctx context.Context, r *Request) (*Hold, error) {
	if !r.limited() {
		return &none, nil
	}
	h := l.pool.Get().(*Hold)
	h.l = l
	for i := range r.Levels {
		if err := h.takeLevel(ctx, &r.Levels[i], r); err != nil {
			h.undo()
			h.free()
			return nil, err
		}
	}
	return h, nil
}

// limited says that there is a limit at all.
func (r *Request) limited() bool {
	for i := range r.Levels {
		v := &r.Levels[i]
		if v.Allowance != nil && (!v.Allowance.Limits.IsZero() || len(v.Allowance.ModelLimits) > 0) {
			return true
		}
		if r.Session != "" && v.Policy != nil && v.Policy.Sessions != nil {
			return true
		}
	}
	return false
}

// takeLevel counts the request in the limits of one holder: its own, those of the model and
// those of the session.
func (h *Hold) takeLevel(ctx context.Context, v *resource.Level, r *Request) error {
	if a := v.Allowance; a != nil {
		if err := h.takeAll(ctx, holder{kind: v.Kind, id: v.ID}, &a.Limits, r); err != nil {
			return err
		}
		if r.Model != "" && len(a.ModelLimits) > 0 {
			if m, ok := a.ModelLimits[r.Model]; ok {
				if err := h.takeAll(ctx, holder{kind: v.Kind, id: v.ID, part: partModel, of: r.Model}, &m, r); err != nil {
					return err
				}
			}
		}
	}
	if v.Policy == nil || v.Policy.Sessions == nil || r.Session == "" {
		return nil
	}
	s := resource.Limits{RPM: v.Policy.Sessions.RPM, TPM: v.Policy.Sessions.TPM}
	return h.takeAll(ctx, holder{kind: v.Kind, id: v.ID, part: partSession, of: r.Session}, &s, r)
}

// takeAll counts the request in one set of limits.
func (h *Hold) takeAll(ctx context.Context, of holder, limits *resource.Limits, r *Request) error {
	for _, d := range [...]struct {
		dim   dimension
		limit *int64
		cost  int64
	}{
		{parallel, limits.Parallel, 1},
		{requests, limits.RPM, 1},
		{tokens, limits.TPM, max(0, r.Input) + max(0, r.Output)},
		{input, limits.InputTPM, max(0, r.Input)},
		{output, limits.OutputTPM, max(0, r.Output)},
	} {
		if d.limit == nil {
			continue
		}
		if err := h.take(ctx, of, d.dim, *d.limit, d.cost); err != nil {
			return err
		}
	}
	return nil
}

func (h *Hold) take(ctx context.Context, of holder, dim dimension, limit, cost int64) error {
	id, now := of.limit(dim), h.l.cfg.Now()
	t := taking{use: use{id: id, dim: dim, cost: cost}, limit: limit}
	v := h.l.view.Load()
	switch {
	case cost > limit:
		t.refused(limit, time.Minute)
	case v.members > 1 && limit < int64(smallFactor*v.members):
		h.l.takeSmall(&t, now, v)
	default:
		if err := h.l.takeShare(ctx, &t); err != nil {
			return err
		}
	}
	if t.retry > 0 {
		h.l.metrics.refused.WithLabelValues(dim.String()).Inc()
		return t.error(of)
	}
	h.note(&t)
	h.uses = append(h.uses, t.use)
	return nil
}

// note keeps the state of the tightest limit of each dimension.
func (h *Hold) note(t *taking) {
	s := State{Limit: t.limit, Remaining: max(0, t.limit-t.known), Reset: t.reset}
	if d := t.use.dim; !h.has[d] || s.Remaining < h.states[d].Remaining {
		h.states[d], h.has[d] = s, true
	}
}

// taking is one attempt to count a request in one limit.
type taking struct {
	use   use
	limit int64
	known int64         // counted, with the request
	reset time.Duration // until all is free
	retry time.Duration // > 0: it was refused
}

func (t *taking) refused(known int64, retry time.Duration) {
	t.known, t.retry = known, max(time.Millisecond, retry)
}

// error tells the client which limit it ran into.
func (t *taking) error(of holder) *llm.Error {
	what, unit := t.use.dim.String(), t.use.dim.unit()
	if t.use.dim == parallel {
		what = requests.String()
	}
	h := http.Header{}
	h.Set("x-ratelimit-limit-"+what, strconv.FormatInt(t.limit, 10))
	h.Set("x-ratelimit-remaining-"+what, strconv.FormatInt(max(0, t.limit-t.known), 10))
	h.Set("x-ratelimit-reset-"+what, t.retry.Round(time.Millisecond).String())
	return &llm.Error{
		Kind: llm.RateLimited, Type: what, Code: "rate_limit_exceeded", Scope: of.kind, RetryAfter: t.retry, Header: h,
		Message: fmt.Sprintf("rate limit of the %s is reached: %d %s, %d counted", of, t.limit, unit, t.known),
	}
}

// takeShare counts the request in this node's claim, which it may have to wait for.
func (l *Limiter) takeShare(ctx context.Context, t *taking) error {
	c := l.lock(t.use.id, t.use.dim)
	c.limit = t.limit
	if l.tryLocked(c, t) {
		c.mu.Unlock()
		return nil
	}
	timer := time.NewTimer(waitAtMost)
	defer timer.Stop()
	c.waiting += t.use.cost
	defer func() {
		c.waiting -= t.use.cost
		if c.waiting == 0 {
			c.least = 0
		}
		c.mu.Unlock()
	}()
	for {
		if c.least == 0 || t.use.cost < c.least {
			c.least = t.use.cost
		}
		if c.wake == nil {
			c.wake = make(chan struct{})
		}
		wake := c.wake
		c.mu.Unlock()
		last := false
		select {
		case <-wake:
		case <-timer.C:
			last = true
		case <-ctx.Done():
			c.mu.Lock()
			return &llm.Error{Kind: llm.Canceled, Message: "the client went away", Err: ctx.Err()}
		}
		c.mu.Lock()
		c.waiting -= t.use.cost // tryLocked asks whether the others that wait leave room
		done := l.tryLocked(c, t)
		c.waiting += t.use.cost
		if done {
			return nil
		}
		if last {
			now := l.cfg.Now()
			t.refused(c.knownLocked(now.Unix()), c.retryLocked(now, t.use.cost, t.limit))
			return nil
		}
	}
}

// tryLocked counts the request or refuses it; false: it must wait.
func (l *Limiter) tryLocked(c *counter, t *taking) bool {
	now, v := l.cfg.Now(), l.view.Load()
	second := now.Unix()
	known, cost := c.knownLocked(second), t.use.cost
	c.used = second
	if v.members > 1 && !c.opened && v.warm {
		c.opened = true
		c.claim = max(0, min(c.opening(v), c.roomLocked(v, second)))
	}
	fits := known+cost <= t.limit
	if fits && v.members > 1 {
		if !v.warm || c.claim < cost {
			return !l.hopefulLocked(c, t, v, now, known)
		}
		c.claim -= cost
	}
	if !fits {
		t.refused(known, c.retryLocked(now, cost, t.limit))
		return true
	}
	c.countLocked(second, cost, v.round)
	c.admitted += cost
	t.known = known + cost
	if c.dim != parallel {
		t.reset = time.Duration(c.all.after(c.all.sum)) * time.Second
	}
	return true
}

// hopefulLocked says whether what waits already leaves room for the request: else it is
// refused, as one more that waits in vain.
func (l *Limiter) hopefulLocked(c *counter, t *taking, v *view, now time.Time, known int64) bool {
	room := c.leftLocked(v, now.Unix()) - c.waiting
	for _, i := range v.visible { // what is kept for those that are idle is not to be had
		if len(c.peers) > i && c.peers[i].demand[0] == 0 {
			room -= min(c.idle(), c.peers[i].claim)
		}
	}
	if !v.warm || room >= t.use.cost {
		return true
	}
	t.refused(known, c.retryLocked(now, t.use.cost, t.limit))
	return false
}

// takeSmall lets the owner count the request, or counts it by the formula if the owner
// does not answer.
func (l *Limiter) takeSmall(t *taking, now time.Time, v *view) {
	owner := l.ownerOf(t.use.id, v.ids)
	c := l.lock(t.use.id, t.use.dim)
	defer func() { c.mu.Unlock() }()
	c.limit = t.limit
	if owner != l.cfg.NodeID {
		q := question{id: t.use.id, dim: t.use.dim, limit: t.limit, cost: t.use.cost, total: c.total, seq: c.seq}
		if t.use.dim == parallel { // counted first, so that two requests do not ask with one count
			c.countLocked(now.Unix(), 1, v.round)
		}
		c.mu.Unlock()
		a, ok := l.ask(owner, q)
		c = l.lock(t.use.id, t.use.dim)
		if t.use.dim == parallel && (!ok || !a.admitted) {
			c.countLocked(now.Unix(), -1, v.round)
		}
		if ok {
			t.known, t.use.owned = a.known, t.use.dim != parallel
			if !a.admitted {
				t.refused(a.known, time.Duration(a.retry))
			}
			return
		}
		l.metrics.unowned.Inc()
		l.takePartLocked(c, t, now, v)
		return
	}
	if !v.warm {
		l.takePartLocked(c, t, now, v)
		return
	}
	known := c.knownLocked(now.Unix())
	if known+t.use.cost > t.limit {
		t.refused(known, c.retryLocked(now, t.use.cost, t.limit))
		return
	}
	c.countLocked(now.Unix(), t.use.cost, v.round)
	t.known = known + t.use.cost
}

// takePartLocked counts the request against this node's part of a small limit.
func (l *Limiter) takePartLocked(c *counter, t *taking, now time.Time, v *view) {
	known, own := c.knownLocked(now.Unix()), c.total
	if c.dim != parallel {
		c.own.advance(now.Unix())
		own = c.own.sum
	}
	part := max(1, t.limit/int64(v.members))
	if known >= t.limit || (own > 0 && own+t.use.cost > part) {
		t.refused(known, c.retryLocked(now, t.use.cost, t.limit))
		return
	}
	c.countLocked(now.Unix(), t.use.cost, v.round)
	t.known = known + t.use.cost
}

// Settle puts the tokens that were used in the place of the estimate.
func (h *Hold) Settle(in, out int64) {
	if h.l == nil || h.settled {
		return
	}
	h.settled = true
	second, round := h.l.cfg.Now().Unix(), h.l.roundNow()
	for i := range h.uses {
		u := &h.uses[i]
		used, ok := u.dim.used(in, out)
		if !ok || used == u.cost {
			continue
		}
		c := h.l.lock(u.id, u.dim)
		c.countLocked(second, used-u.cost, round)
		c.claim = max(0, c.claim-max(0, used-u.cost))
		c.signalLocked()
		c.mu.Unlock()
	}
}

// Release ends the request: it is no more in flight, and if it was not settled its tokens
// are not counted. The Hold must not be used afterwards.
func (h *Hold) Release() {
	if h.l == nil {
		return
	}
	h.Settle(0, 0)
	second, round := h.l.cfg.Now().Unix(), h.l.roundNow()
	for i := range h.uses {
		if u := &h.uses[i]; u.dim == parallel {
			h.l.giveBack(u, second, round)
		}
	}
	h.free()
}

// undo takes a request that another limit refused out of those that had admitted it.
func (h *Hold) undo() {
	second, round := h.l.cfg.Now().Unix(), h.l.roundNow()
	for i := range h.uses {
		h.l.giveBack(&h.uses[i], second, round)
	}
}

func (l *Limiter) giveBack(u *use, second int64, round uint64) {
	c := l.lock(u.id, u.dim)
	c.countLocked(second, -u.cost, round)
	if !u.owned {
		c.claim += u.cost
	}
	c.signalLocked()
	limit, e := c.limit, c.entryLocked(second)
	c.mu.Unlock()
	if u.dim == parallel && limit < int64(smallFactor*l.view.Load().members) {
		l.tellOwner(e)
	}
}

func (h *Hold) free() {
	l := h.l
	*h = Hold{uses: h.uses[:0]}
	l.pool.Put(h)
}

// Requests is how the tightest limit of requests a minute stood; false: there is none.
func (h *Hold) Requests() (State, bool) { return h.states[requests], h.has[requests] }

// Tokens is how the tightest limit of all tokens a minute stood; false: there is none.
func (h *Hold) Tokens() (State, bool) { return h.states[tokens], h.has[tokens] }

// InputTokens is how the tightest limit of prompt tokens a minute stood; false: there is none.
func (h *Hold) InputTokens() (State, bool) { return h.states[input], h.has[input] }

// OutputTokens is how the tightest limit of completion tokens a minute stood; false: there is none.
func (h *Hold) OutputTokens() (State, bool) { return h.states[output], h.has[output] }

// Seconds rounds a duration up to whole seconds, as Retry-After wants it.
func Seconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }
