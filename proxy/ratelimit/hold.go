package ratelimit

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/llm"
)

// State is how a limit stood when the request was admitted, for x-ratelimit-* headers.
type State struct {
	Limit     int64
	Remaining int64         // on all nodes, as far as this one has heard
	Reset     time.Duration // until all of it is free again
}

// Hold is one admitted request: what it counts in each limit.
type Hold struct {
	l       *Limiter
	now     time.Duration // when it was asked for
	uses    []use
	settled bool
	states  [dimensions]State // of the tightest limit
	has     [dimensions]bool
}

// mostLoans is how many loans a Hold remembers. What comes from more of them counts until it
// ends, even where the request used less.
const mostLoans = 3

// use is the part of a Hold in one limit.
type use struct {
	id     uint64
	dim    dimension
	cost   int64
	own    int64 // of cost, on this node's part
	second int64
	loans  [mostLoans]portion
}

// none is the Hold of requests without limits. It is never changed.
var none Hold

func (h *Hold) take(ctx context.Context, of holder, dim dimension, limit, cost int64) error {
	l := h.l
	h.uses = append(h.uses, use{id: of.limit(dim), dim: dim, cost: cost})
	t := taking{use: &h.uses[len(h.uses)-1], limit: limit}
	if cost > limit {
		t.refused(0, time.Minute)
	} else {
		c := l.lock(t.use.id, dim)
		v := l.look(h.now)
		c.partLocked(v, limit)
		var err error
		if !l.tryLocked(c, &t, v, h.now) {
			err = l.borrowLocked(ctx, c, &t) // unlocks while it waits
		}
		c.mu.Unlock()
		if err != nil {
			h.uses = h.uses[:len(h.uses)-1]
			return err
		}
	}
	if t.retry > 0 {
		h.uses = h.uses[:len(h.uses)-1]
		l.metrics.refused.WithLabelValues(dim.String()).Inc()
		return t.error(of)
	}
	h.note(&t)
	return nil
}

// note keeps the state of the tightest limit of each dimension.
func (h *Hold) note(t *taking) {
	s := State{Limit: t.limit, Remaining: t.remain}
	d := t.use.dim
	if d != parallel {
		s.Reset = span * time.Second
	}
	if !h.has[d] || s.Remaining < h.states[d].Remaining {
		h.states[d], h.has[d] = s, true
	}
}

// taking is one attempt to count a request in one limit.
type taking struct {
	use    *use
	limit  int64
	remain int64         // after the request
	retry  time.Duration // > 0: it was refused
}

func (t *taking) refused(remain int64, retry time.Duration) {
	t.remain, t.retry = remain, max(time.Millisecond, retry)
}

// error tells the client which limit it ran into.
func (t *taking) error(of holder) *llm.Error {
	what, unit := t.use.dim.String(), t.use.dim.unit()
	if t.use.dim == parallel {
		what = requests.String()
	}
	h := http.Header{}
	h.Set("x-ratelimit-limit-"+what, strconv.FormatInt(t.limit, 10))
	h.Set("x-ratelimit-remaining-"+what, strconv.FormatInt(t.remain, 10))
	h.Set("x-ratelimit-reset-"+what, t.retry.Round(time.Millisecond).String())
	tag := ""
	if of.part == partTag {
		tag = of.of
	}
	return &llm.Error{
		Kind: llm.RateLimited, Type: what, Code: "rate_limit_exceeded", Scope: of.kind, Entity: of.id, RetryAfter: t.retry, Header: h,
		Count: &llm.Count{
			Of: t.use.dim.field(), Part: of.part.String(), Name: tag, Limit: t.limit, Left: t.remain, Asked: t.use.cost, Late: t.remain >= t.use.cost,
		},
		Message: fmt.Sprintf("rate limit of the %s is reached: %d %s, the request counts %d, about %d left", of, t.limit, unit, t.use.cost, t.remain),
	}
}

// tryLocked counts the request on the own part and on what is borrowed; false: they are not enough.
func (l *Limiter) tryLocked(c *counter, t *taking, v *view, now time.Duration) bool {
	u := t.use
	second := int64(now / time.Second)
	c.touched = second
	free := c.freeLocked(second)
	u.second, u.own = second, max(0, min(free, u.cost))
	if rest := u.cost - free; rest > 0 { // after overruns, free < 0, the loans must make up for them too
		if len(c.lots) == 0 {
			return false
		}
		now = l.cfg.Clock() // a loan may have ended while the lock was long in coming
		if c.borrowedLocked(now) < rest {
			return false
		}
		c.spendLocked(u, u.cost-u.own, now)
		if c.dim == parallel && free < 0 { // the part has become smaller: what is above it moves to loans
			c.spendLocked(&use{}, -free, now)
			c.inUse += free
		}
	}
	c.changed = l.net.round.Load()
	if c.dim == parallel {
		c.inUse += u.own
	} else if u.own > 0 {
		c.window.add(second, u.own)
		l.keepLocked(c, second)
	}
	t.remain = c.remainLocked(v, now)
	return true
}

// spendLocked takes n out of the loans that have not ended.
func (c *counter) spendLocked(u *use, n int64, now time.Duration) {
	k := 0
	for i := range c.lots {
		o := &c.lots[i]
		if n == 0 {
			return
		}
		if now >= o.until || o.free == 0 {
			continue
		}
		take := min(n, o.free)
		n -= take
		o.free -= take
		o.last = now
		if c.dim == parallel {
			o.inUse += take
		}
		if k < mostLoans {
			u.loans[k] = portion{peer: o.peer, boot: o.boot, stamp: o.stamp, n: take}
			k++
		}
	}
}

// Settle puts the tokens that were used in the place of the estimate.
func (h *Hold) Settle(in, out int64) {
	if h.l == nil || h.settled {
		return
	}
	h.settled = true
	now := h.l.cfg.Clock()
	for i := range h.uses {
		u := &h.uses[i]
		used, ok := u.dim.used(max(0, in), max(0, out))
		if !ok || used == u.cost {
			continue
		}
		c := h.l.lock(u.id, u.dim)
		if used < u.cost {
			c.refundLocked(u, u.cost-used, now)
		} else { // an overrun, which what is admitted later makes up for
			second := int64(now / time.Second)
			c.window.advance(second)
			c.window.add(second, used-u.cost)
			h.l.keepLocked(c, second)
		}
		c.changed = h.l.net.round.Load()
		u.cost = used
		c.mu.Unlock()
	}
}

// refundLocked gives back n of what the use counts, out of the second that counted it: so
// that nothing is free before its time.
func (c *counter) refundLocked(u *use, n int64, now time.Duration) {
	if own := min(n, u.own); own > 0 {
		c.window.advance(int64(now / time.Second))
		c.window.sub(u.second, own)
		u.own -= own
		n -= own
		c.refunded = true
	}
	for i := range u.loans {
		p := &u.loans[i]
		if give := min(n, p.n); give > 0 {
			p.n -= give
			n -= give
			c.giveLocked(portion{p.peer, p.boot, p.stamp, give}, now)
		}
	}
	c.signalLocked()
}

// giveLocked puts a portion back into its lot, or on the way to the lender.
func (c *counter) giveLocked(p portion, now time.Duration) {
	for i := range c.lots {
		if o := &c.lots[i]; o.peer == p.peer && o.boot == p.boot && o.stamp == p.stamp && now < o.until {
			o.free += p.n
			return
		}
	}
	c.owe(p)
}

// owe notes what is to be given back.
func (c *counter) owe(p portion) {
	for i := range c.back {
		if o := &c.back[i]; o.peer == p.peer && o.boot == p.boot && o.stamp == p.stamp {
			o.n += p.n
			return
		}
	}
	c.back = append(c.back, p)
}

// Release ends the request: it is no more in flight, and if it was not settled its tokens
// are not counted. The Hold must not be used afterwards.
func (h *Hold) Release() {
	if h.l == nil {
		return
	}
	h.Settle(0, 0)
	for i := range h.uses {
		if u := &h.uses[i]; u.dim == parallel {
			h.l.land(u)
		}
	}
	h.free()
}

// Withdraw takes the request out of its limits, as if it had not come. The Hold must not be used afterwards.
func (h *Hold) Withdraw() {
	if h.l == nil {
		return
	}
	h.undo()
	h.free()
}

// undo takes a request that another limit refused out of those that had admitted it.
func (h *Hold) undo() {
	now := h.l.cfg.Clock()
	for i := range h.uses {
		u := &h.uses[i]
		if u.dim == parallel {
			h.l.land(u)
			continue
		}
		c := h.l.lock(u.id, u.dim)
		c.refundLocked(u, u.cost, now)
		c.changed = h.l.net.round.Load()
		c.mu.Unlock()
	}
}

// land ends a request in flight. Which one it is does not matter, so what is borrowed is given
// back first, and of that what was borrowed first: else a place that a lender has no more, since
// its part has become smaller, would stay in use for as long as there are requests.
func (l *Limiter) land(u *use) {
	c := l.lock(u.id, u.dim)
	c.changed = l.net.round.Load()
	lender := -1
	o := c.oldestLocked()
	if o == nil || c.inUse > 0 && c.freeLocked(c.touched) < 0 { // the own part has become smaller
		c.inUse--
	} else {
		o.inUse--
		o.free++
		lender = o.peer
	}
	c.signalLocked()
	hurry := lender >= 0 && c.waiting == 0 && c.limit < hurryBelow
	var word report
	if hurry {
		for i := range c.lots {
			if c.lots[i].peer == lender {
				c.lots[i].free = 0
			}
		}
		word = c.reportLocked(lender, l.words.Add(1))
	}
	c.mu.Unlock()
	if hurry {
		l.sendReport(lender, word)
	}
}

// oldestLocked is the loan in use that ended, or ends, before all others; nil: none is in use.
func (c *counter) oldestLocked() (oldest *lot) {
	for i := range c.lots {
		if o := &c.lots[i]; o.inUse > 0 && (oldest == nil || o.until < oldest.until) {
			oldest = o
		}
	}
	return oldest
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
