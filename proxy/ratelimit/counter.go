package ratelimit

import (
	"sync"
	"time"
)

// dimension is what a limit counts.
type dimension byte

const (
	requests dimension = 1 // a minute
	tokens   dimension = 2 // a minute, prompt and completion
	parallel dimension = 3 // requests in flight
	input    dimension = 4 // tokens of the prompt a minute
	output   dimension = 5 // tokens of the completion a minute

	dimensions = 6 // with the one that is nothing
)

func (d dimension) String() string {
	return [dimensions]string{"", "requests", "tokens", "parallel", "input-tokens", "output-tokens"}[d]
}

// unit is what the dimension's numbers count, in words.
func (d dimension) unit() string {
	return [dimensions]string{
		"", "requests a minute", "tokens a minute", "requests in flight", "prompt tokens a minute", "completion tokens a minute",
	}[d]
}

// used is what a request that used so many tokens counts; false: its cost does not depend on it.
func (d dimension) used(in, out int64) (int64, bool) {
	switch d {
	case tokens:
		return in + out, true
	case input:
		return in, true
	case output:
		return out, true
	default:
		return 0, false
	}
}

// buckets of a minute: with one more than 60, the second that a window of 60 s cuts in two
// is counted whole.
const buckets = 61

// ring counts the last minute.
type ring struct {
	second int64 // of the newest bucket
	sum    int64
	count  [buckets]int64
}

// advance empties the buckets that have left the window. A clock that goes back stays.
func (r *ring) advance(second int64) {
	gap := second - r.second
	if gap <= 0 {
		return
	}
	if gap >= buckets {
		r.count, r.sum = [buckets]int64{}, 0
	} else {
		for s := r.second + 1; s <= second; s++ {
			r.sum -= r.count[s%buckets]
			r.count[s%buckets] = 0
		}
	}
	r.second = second
}

func (r *ring) add(second, n int64) {
	r.advance(second)
	r.count[r.second%buckets] += n
	r.sum += n
}

// after is how many seconds pass until n less are counted.
func (r *ring) after(n int64) int64 {
	for age := int64(buckets - 1); age >= 0; age-- {
		if n -= r.count[(r.second-age+buckets)%buckets]; n <= 0 {
			return buckets - age
		}
	}
	return buckets
}

// peerCount is what is known of one peer's part of a limit.
type peerCount struct {
	ring   *ring // nil: nothing was counted
	total  int64 // newest, since the peer's start; of parallel: in flight
	heard  bool  // total is set
	claim  int64
	demand [2]int64 // of its last two frames, newest first
	seq    int64    // of parallel: rises with each change
}

// counter is one limit of one holder.
type counter struct {
	id  uint64
	dim dimension

	mu       sync.Mutex // guards the fields below
	dead     bool       // taken out of the table: look it up again
	limit    int64      // as the last request saw it; -1: no request has been here
	own      ring       // admitted here
	total    int64      // admitted here since the start; of parallel: in flight
	seq      int64
	all      ring // admitted anywhere, what others know of this node's last run included
	restored int64
	claim    int64
	opened   bool // a request has been here, or a round: claim is set
	admitted int64
	sent     [2]int64 // demand told in the last two rounds, newest first
	waiting  int64    // sum of what waits
	least    int64    // smallest that waits
	changed  uint64   // round of the last change
	used     int64    // second of the last request or frame
	peers    []peerCount
	wake     chan struct{} // closed when something changes; nil: nobody waits
}

// knownLocked is what is counted on all nodes.
func (c *counter) knownLocked(second int64) int64 {
	if c.dim != parallel {
		c.all.advance(second)
		return c.all.sum
	}
	n := c.total
	for i := range c.peers {
		n += c.peers[i].total
	}
	return n
}

// countLocked adds n to what this node has admitted.
func (c *counter) countLocked(second, n int64, round uint64) {
	c.total += n
	c.changed, c.used = round, second
	if c.dim == parallel {
		c.seq++
		return
	}
	c.own.add(second, n)
	c.all.add(second, n)
}

func (c *counter) signalLocked() {
	if c.wake != nil {
		close(c.wake)
		c.wake = nil
	}
}

// peerLocked returns the peer's part, making room for it.
func (c *counter) peerLocked(i int) *peerCount {
	for len(c.peers) <= i {
		c.peers = append(c.peers, peerCount{})
	}
	return &c.peers[i]
}

// hearLocked takes in what a peer says of its part.
func (c *counter) hearLocked(i int, e *entry, second int64) {
	p := c.peerLocked(i)
	c.used = second
	p.claim = e.claim
	p.demand = [2]int64{e.demand, p.demand[0]}
	if c.dim == parallel {
		if !p.heard || e.window >= p.seq {
			p.total, p.seq, p.heard = e.total, e.window, true
		}
		return
	}
	add := e.total - p.total
	if !p.heard || add > e.window {
		add = e.window
	}
	p.total, p.heard = e.total, true
	if add == 0 {
		return
	}
	if p.ring == nil {
		p.ring = &ring{second: second}
	}
	p.ring.add(second, add)
	c.all.add(second, add)
}

// restoreLocked takes in what a peer knows of this node's last run.
func (c *counter) restoreLocked(window, second int64) {
	if window > c.restored {
		c.all.add(second, window-c.restored)
		c.restored = window
	}
	c.used = second
}

// entryLocked is what this node tells of its part.
func (c *counter) entryLocked(second int64) entry {
	e := entry{id: c.id, dim: c.dim, total: c.total, claim: c.claim, demand: c.sent[0], window: c.seq}
	if c.dim != parallel {
		c.own.advance(second)
		e.window = c.own.sum
	}
	return e
}

// idleLocked says that nothing is left to remember.
func (c *counter) idleLocked(second int64) bool {
	return c.waiting == 0 && second-c.used > 2*buckets && (c.dim != parallel || c.total == 0)
}

// retryLocked is how long until cost more may be admitted.
func (c *counter) retryLocked(now time.Time, cost, limit int64) time.Duration {
	if c.dim == parallel {
		return time.Second
	}
	excess := max(1, c.knownLocked(now.Unix())+cost-limit)
	whole := time.Duration(c.all.after(excess)) * time.Second
	return max(time.Millisecond, whole-now.Sub(now.Truncate(time.Second)))
}
