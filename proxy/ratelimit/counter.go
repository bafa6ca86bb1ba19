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

// field is the name of the limit in resource.Limits.
func (d dimension) field() string {
	return [dimensions]string{"", "rpm", "tpm", "parallel", "input_tpm", "output_tpm"}[d]
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

// counter is one limit of one holder: this node's part of it, and what it has borrowed.
type counter struct {
	id  uint64
	dim dimension

	mu       sync.Mutex // guards the fields below
	dead     bool       // taken out of the table: look it up again
	limit    int64      // as the last request saw it; -1: no request has been here
	part     int64      // of the limit that is this node's, under membership version
	partOf   int64      // the limit that part was made of
	version  uint64     // 0: make part anew
	window   ring       // of the part: admitted here or lent
	inUse    int64      // of parallel: in flight here, on the own part
	lots     []lot      // borrowed
	back     []portion  // of loans, to be given back with the next frame
	peers    []peerPart // by the limiter's index of the peer
	asking   bool       // one request is asking for all that wait
	ahead    int64      // what was asked for beyond the need
	asked    time.Duration
	waiting  int64 // sum of what waits
	least    int64 // smallest that waits; 0: nothing waits
	wake     chan struct{}
	touched  int64   // second of the last request, question or frame
	changed  uint64  // round of the last change
	kept     [2]mark // what the tape holds of the newest two seconds
	refunded bool    // since the tape was told
	retold   int64   // second in which the tape was told of refunds
}

// lot is what this node has borrowed of one peer in one go.
type lot struct {
	peer  int
	boot  uint64 // the lender's run
	stamp int64  // the lender's second that counts it
	free  int64
	inUse int64 // of parallel
	until time.Duration
	last  time.Duration // when it was last of use
}

// portion is a part of a loan: of a request, or on its way back.
type portion struct {
	peer  int
	boot  uint64
	stamp int64
	n     int64
}

// peerPart is what is known of one peer.
type peerPart struct {
	// What it has of ours, of parallel: held is its own word, up to its question closed.
	held   int64
	seq    int64 // of its newest word
	closed int64
	askNo  int64 // its newest question, and what it was lent
	askN   int64
	taped  int64         // what the tape holds
	word   time.Duration // when it last spoke of it

	// What is left of its part.
	left     int64
	known    bool          // left was told
	hopeless time.Duration // until then it need not be asked
	frees    time.Duration // when its part has something left by itself; 0: not known
	agreed   uint64        // the membership version that it confirmed

	shut int64 // our newest question to it that has ended
}

// lent is what the peer may have of ours.
func (p *peerPart) lent() int64 {
	if p.askNo > p.closed {
		return p.held + p.askN
	}
	return p.held
}

// mark is what the tape holds of one second.
type mark struct{ second, n int64 }

// peerLocked returns what is known of the peer, making room for it.
func (c *counter) peerLocked(i int) *peerPart {
	for len(c.peers) <= i {
		c.peers = append(c.peers, peerPart{})
	}
	return &c.peers[i]
}

// partLocked makes the part of the limit anew if the members or the limit have changed.
func (c *counter) partLocked(v *view, limit int64) {
	c.limit = limit
	if c.version == v.version && c.partOf == limit {
		return
	}
	c.version, c.partOf = v.version, limit
	c.part = v.partOf(c.id, limit, c.agreedLocked(v))
}

// agreedLocked says that all others have confirmed to keep to their parts under the members as they
// are now.
func (c *counter) agreedLocked(v *view) bool {
	for _, i := range v.others {
		if len(c.peers) <= i || c.peers[i].agreed != v.version {
			return false
		}
	}
	return true
}

// freeLocked is what is left of the own part; less than 0 after overruns.
func (c *counter) freeLocked(second int64) int64 {
	if c.dim != parallel {
		c.window.advance(second)
		return c.part - c.window.sum
	}
	n := c.part - c.inUse
	for i := range c.peers {
		n -= c.peers[i].lent()
	}
	return n
}

// borrowedLocked is what this node may still use of its loans.
func (c *counter) borrowedLocked(now time.Duration) (n int64) {
	for i := range c.lots {
		if now < c.lots[i].until {
			n += c.lots[i].free
		}
	}
	return n
}

// remainLocked is about what is left of the limit on all nodes.
func (c *counter) remainLocked(v *view, now time.Duration) int64 {
	n := max(0, c.freeLocked(int64(now/time.Second))) + c.borrowedLocked(now)
	for _, i := range v.others {
		if len(c.peers) > i && c.peers[i].known {
			n += c.peers[i].left
		} else {
			n += c.limit / int64(len(v.hashes))
		}
	}
	return max(0, min(n, c.limit))
}

func (c *counter) signalLocked() {
	if c.wake != nil {
		close(c.wake)
		c.wake = nil
	}
}

// idleLocked says that nothing is left to remember.
func (c *counter) idleLocked(second int64) bool {
	if c.waiting != 0 || c.asking || c.inUse != 0 || len(c.lots) > 0 || len(c.back) > 0 || second-c.touched <= 2*span {
		return false
	}
	c.window.advance(second)
	if c.window.sum != 0 {
		return false
	}
	for i := range c.peers {
		if c.peers[i].lent() != 0 {
			return false
		}
	}
	return true
}

// retryLocked is how long until cost may be admitted.
func (c *counter) retryLocked(v *view, now time.Duration, cost int64) time.Duration {
	if c.dim == parallel {
		return time.Second
	}
	second := int64(now / time.Second)
	excess := max(1, cost-c.freeLocked(second))
	wait := time.Duration(c.window.after(second, excess))*time.Second - now%time.Second
	for _, i := range v.others {
		if len(c.peers) > i && c.peers[i].frees > now {
			wait = min(wait, c.peers[i].frees-now)
		}
	}
	return max(time.Millisecond, wait)
}
