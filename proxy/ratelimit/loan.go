package ratelimit

import (
	"context"
	"time"

	"github.com/conclave-llm/conclave/llm"
)

const (
	waitAtMost = 300 * time.Millisecond // for what peers have left
	askAtMost  = 200 * time.Millisecond // for one peer
	// loanFor is how long the borrower may use a loan, from the moment before it asked; the
	// lender counts it from the moment after, so it ends here first, whatever the network does.
	loanFor    = time.Second
	unusedFor  = 300 * time.Millisecond // after which a loan is given back early
	askAgain   = 20 * time.Millisecond  // before a peer that had nothing is asked again, at least
	hopeAfter  = 150 * time.Millisecond // at most, where what it has may come back early
	muteFirst  = 250 * time.Millisecond // a peer that did not answer is not asked
	muteMost   = 2 * time.Second
	hurryBelow = 64 // smaller limits on requests in flight are given back at once
)

// borrowLocked makes the request wait for what peers have left. Of all that wait for one
// counter, one asks at a time, for all. c.mu is unlocked while it waits.
func (l *Limiter) borrowLocked(ctx context.Context, c *counter, t *taking) error {
	cost := t.use.cost
	begin := l.cfg.Clock()
	var timer *time.Timer
	c.waiting += cost
	defer func() {
		if c.waiting -= cost; c.waiting == 0 {
			c.least = 0
		}
		if timer != nil {
			timer.Stop()
		}
	}()
	for {
		if c.least == 0 || cost < c.least {
			c.least = cost
		}
		now := l.cfg.Clock()
		v := l.look(now)
		c.partLocked(v, t.limit)
		if l.tryLocked(c, t, v, now) {
			return nil
		}
		if !c.asking {
			i := l.nextLocked(c, v, now)
			rest := waitAtMost - (now - begin)
			if i < 0 || rest <= 0 || ctx.Err() != nil {
				break
			}
			l.askLocked(c, i, v, min(rest, askAtMost))
			continue
		}
		if timer == nil {
			timer = time.NewTimer(waitAtMost)
		}
		if !c.pauseLocked(ctx, timer) {
			break
		}
	}
	if ctx.Err() != nil {
		return &llm.Error{Kind: llm.Canceled, Message: "the client went away", Err: ctx.Err()}
	}
	now := l.cfg.Clock()
	v := l.look(now)
	t.refused(c.remainLocked(v, now), c.retryLocked(v, now, cost))
	return nil
}

// pauseLocked waits until something changes; false: for too long.
func (c *counter) pauseLocked(ctx context.Context, timer *time.Timer) bool {
	if c.wake == nil {
		c.wake = make(chan struct{})
	}
	wake := c.wake
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-wake:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// nextLocked is the peer that has most left, as far as is known; -1: none has.
func (l *Limiter) nextLocked(c *counter, v *view, now time.Duration) int {
	if l.cfg.Peers == nil {
		return -1
	}
	best, most := -1, int64(-1)
	for _, i := range v.others {
		p := c.peerLocked(i)
		if now < p.hopeless || now < l.net.muteOf(i) {
			continue
		}
		left := p.left
		if !p.known || len(v.past) > 0 && p.agreed != v.version {
			left = c.limit
		}
		if left > most {
			best, most = i, left
		}
	}
	return best
}

// askLocked asks a peer for what waits, and for a part of what may soon come.
func (l *Limiter) askLocked(c *counter, i int, v *view, atMost time.Duration) {
	now := l.cfg.Clock()
	need := c.waiting - c.freeLocked(int64(now/time.Second)) - c.borrowedLocked(now)
	if now-c.asked < time.Second {
		c.ahead = min(max(2*c.ahead, need), c.limit/16)
	} else {
		c.ahead = 0
	}
	c.asked, c.asking = now, true
	q := question{
		boot: l.boot, id: c.id, dim: c.dim, limit: c.limit, members: v.sum,
		need: max(0, need), want: max(0, need) + c.ahead,
	}
	q.no = l.words.Add(1)
	if c.dim == parallel {
		q.held, q.closed = c.heldOf(i), c.peers[i].shut
	}
	id := l.net.idOf(i)
	c.mu.Unlock()
	a, ok := l.ask(id, &q, atMost, func(a *answer) { l.late(i, &q, a, now) })
	c.mu.Lock()
	c.asking = false
	l.net.heard(i, ok, l.cfg.Clock())
	if ok {
		l.answeredLocked(c, i, &a, v, now)
	} else {
		l.metrics.unanswered.Inc()
	}
	p := c.peerLocked(i)
	p.shut = q.no
	c.changed = l.net.round.Load()
	c.signalLocked()
}

// answeredLocked takes in what a peer has lent on a question of the time asked.
func (l *Limiter) answeredLocked(c *counter, i int, a *answer, v *view, asked time.Duration) {
	now := l.cfg.Clock()
	p := c.peerLocked(i)
	p.left, p.known = a.left, true
	if a.left == 0 {
		wait := min(time.Duration(a.retry), time.Second)
		p.frees = now + time.Duration(a.retry)
		if c.dim != requests { // tokens and requests in flight come back early
			wait = min(wait, hopeAfter)
		}
		p.hopeless = now + max(askAgain, wait)
	}
	if a.settled && a.members == v.sum && p.agreed != v.version {
		p.agreed, c.version = v.version, 0
		c.partLocked(l.look(now), c.limit)
	}
	c.lentLocked(i, a, asked, now)
}

// late takes in an answer that no request waits for any more. What it lends is of use, or goes
// back: for the lender it is spent until then.
func (l *Limiter) late(i int, q *question, a *answer, asked time.Duration) {
	if q.dim == parallel { // the next question or report has told the lender that it is thrown away
		return
	}
	c := l.find(q.id)
	if c == nil {
		return
	}
	defer c.mu.Unlock()
	c.lentLocked(i, a, asked, l.cfg.Clock())
	c.changed = l.net.round.Load()
	c.signalLocked()
}

// lentLocked takes what a peer has lent on a question of the time asked.
func (c *counter) lentLocked(i int, a *answer, asked, now time.Duration) {
	if a.lent <= 0 {
		return
	}
	o := lot{peer: i, boot: a.boot, stamp: a.stamp, free: a.lent, until: asked + loanFor, last: now}
	if now >= o.until { // it came too late to be used, so nobody has used it
		if c.dim != parallel {
			c.owe(portion{i, o.boot, o.stamp, o.free})
		}
		return
	}
	c.addLot(o)
}

// addLot keeps a lot, in one with what of the same can be told apart no more.
func (c *counter) addLot(o lot) {
	for k := range c.lots {
		have := &c.lots[k]
		if have.peer != o.peer || c.dim != parallel && (have.boot != o.boot || have.stamp != o.stamp) {
			continue
		}
		if have.free == 0 {
			have.until = o.until
		}
		have.free += o.free
		have.until, have.last = min(have.until, o.until), o.last
		return
	}
	c.lots = append(c.lots, o)
}

// heldOf is what this node has of the peer's part.
func (c *counter) heldOf(i int) (n int64) {
	for k := range c.lots {
		if c.lots[k].peer == i {
			n += c.lots[k].free + c.lots[k].inUse
		}
	}
	return n
}

// ask sends a question; ok is false if no answer came in time: late gets one that comes then.
func (l *Limiter) ask(node string, q *question, atMost time.Duration, late func(*answer)) (a answer, ok bool) {
	l.metrics.questions.Inc()
	ctx, cancel := context.WithTimeout(context.Background(), atMost)
	defer cancel()
	b, err := l.cfg.Peers.Ask(ctx, node, q.encode(), func(b []byte) {
		if a, err := parseAnswer(b); err == nil {
			late(&a)
		}
	})
	if err != nil {
		return answer{}, false
	}
	a, err = parseAnswer(b)
	return a, err == nil
}

// Answer lends a member what this node's part of a limit has left.
func (l *Limiter) Answer(node string, b []byte) ([]byte, error) {
	q, err := parseQuestion(b)
	if err != nil {
		return nil, err
	}
	i, stale := l.meet(node, q.boot)
	if stale {
		return (&answer{boot: l.boot, retry: int64(time.Second)}).encode(), nil
	}
	if q.id == 0 {
		v := l.lookAgain(l.cfg.Clock())
		a := answer{boot: l.boot, members: v.sum}
		a.settled = v.sum == q.members && l.settled(v, l.cfg.Clock())
		return a.encode(), nil
	}
	c := l.lock(q.id, q.dim)
	defer c.mu.Unlock()
	now := l.cfg.Clock()
	v := l.look(now)
	if v.sum != q.members {
		v = l.lookAgain(now)
	}
	c.partLocked(v, q.limit)
	second := int64(now / time.Second)
	c.touched = second
	c.changed = l.net.round.Load()
	a := answer{boot: l.boot, members: v.sum, stamp: int64((now + loanFor) / time.Second)}
	a.lent = l.lendLocked(c, i, &q, v, now)
	if a.lent > 0 && c.dim != parallel {
		c.window.add(a.stamp, a.lent)
		l.keepLocked(c, a.stamp)
	}
	free := c.freeLocked(second)
	a.left = max(0, free)
	if a.left == 0 {
		a.retry = int64(c.freesLocked(now))
	}
	a.settled = !v.left && free >= 0
	return a.encode(), nil
}

// lendLocked decides what the peer gets: what it needs, and up to half of the rest.
func (l *Limiter) lendLocked(c *counter, i int, q *question, v *view, now time.Duration) int64 {
	p := c.peerLocked(i)
	if c.dim == parallel {
		if q.no <= p.closed || q.no <= p.askNo { // an answer to it would be thrown away
			return 0
		}
		p.closed = max(p.closed, p.askNo) // it asks one question at a time
		c.heedLocked(i, report{held: q.held, closed: q.closed, seq: q.no}, now)
	}
	free := max(0, c.freeLocked(int64(now/time.Second)))
	if c.waiting > 0 && mix(c.id, v.me) < mix(c.id, l.net.hashOf(i)) {
		free = 0 // both wait for more than a part: the one that ranks first gets both
	}
	n := min(free, max(q.need, min(q.want, q.need+(free-q.need)/2)))
	if c.dim == parallel {
		p.askNo, p.askN = q.no, n
		l.keepLentLocked(c, i)
	}
	return max(0, n)
}

// heedLocked takes in what a peer says that it holds of this node's part.
func (c *counter) heedLocked(i int, r report, now time.Duration) {
	if p := c.peerLocked(i); r.seq > p.seq {
		p.held, p.closed, p.seq, p.word = r.held, max(p.closed, r.closed), r.seq, now
	}
}

// freesLocked is how long until this node's part has something left by itself.
func (c *counter) freesLocked(now time.Duration) time.Duration {
	if c.dim == parallel || c.part == 0 {
		return time.Second
	}
	second := int64(now / time.Second)
	return time.Duration(c.window.after(second, 1-c.freeLocked(second)))*time.Second - now%time.Second
}
