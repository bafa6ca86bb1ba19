package router

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/conclave-llm/conclave/llm"
)

// The rules of cooling down.
const (
	defaultCooldown = 5 * time.Second
	maxCooldown     = time.Minute      // of a deployment that fails again and again
	maxRetryAfter   = 10 * time.Minute // that a provider may ask for

	// refusedStreak is how many refusals in a row (401, 402, 403, 404), and failedStreak how
	// many failures (5xx, time-outs, no connection), cool a deployment down. Rows of the
	// other nodes count, so that they do not all have to fail as often. So does a share of
	// failures over one half, once a minute has minSample requests.
	refusedStreak = 2
	failedStreak  = 3
	minSample     = 5

	// streakLife is how long a row of bad outcomes outlives the last of them.
	streakLife = time.Minute

	// sameCooldown is how far apart the ends of one cooldown can be, as told at different
	// times by a node.
	sameCooldown = time.Second
)

// verdict is what an outcome says about the deployment.
type verdict uint8

const (
	neutral  verdict = iota // nothing: the client went away
	answered                // it works; also when the request itself was wrong
	limited                 // it wants to be left alone for a while
	refused                 // it does not take our key, or does not know the model
	failed                  // it is broken or out of reach
)

// verdictOf classifies an outcome. A request that is wrong says nothing against the
// deployment: no client can trip a breaker.
func verdictOf(o Outcome) verdict {
	if o.OK {
		return answered
	}
	switch s := o.Status; {
	case s == 0 || o.Kind == llm.Canceled:
		return verdictOfKind(o.Kind)
	case s == http.StatusTooManyRequests:
		return limited
	case s == http.StatusUnauthorized, s == http.StatusPaymentRequired,
		s == http.StatusForbidden, s == http.StatusNotFound:
		return refused
	case s == http.StatusRequestTimeout, s >= 500:
		return failed
	case s >= 400:
		return answered
	default: // it answered well, and then broke off
		return verdictOfKind(o.Kind)
	}
}

func verdictOfKind(k llm.Kind) verdict {
	switch k {
	case llm.RateLimited:
		return limited
	case llm.Unauthenticated, llm.Forbidden, llm.NotFound:
		return refused
	case llm.Upstream, llm.Timeout, llm.Unavailable:
		return failed
	case llm.Invalid, llm.TooLarge:
		return answered
	default:
		return neutral
	}
}

// breaker keeps requests away from a deployment that cannot take them. It is closed (until
// is 0), open (until lies ahead), or half open (until has passed): then one request at a
// time goes through as a probe, and its outcome closes or opens it. A node also opens its
// breaker on another's word, and then probes for itself.
type breaker struct {
	until atomic.Int64 // Unix nanoseconds, 0: closed; plans read it without mu
	soft  atomic.Bool  // limited or refused: the deployment is up, and if alone is used all the same

	mu      sync.Mutex // guards what follows, and writes of until and soft
	since   int64      // when it opened, or the probe was claimed; older flights change nothing
	mine    int64      // the end of the cooldown that this node found out; what others are told
	heard   int64      // the latest end of a cooldown that has been acted upon
	healed  int64      // when it closed last
	streak  int        // bad outcomes in a row
	lastBad int64      // the last of them
	others  int        // bad outcomes in a row on the other nodes, summed up
	reopens int        // failed probes in a row
	minute  int64      // that the next two count
	total   int
	bad     int
}

// rest returns 0 if the breaker is closed, the nanoseconds left if open, and -1 if half open.
func (b *breaker) rest(now int64) int64 {
	until := b.until.Load()
	switch {
	case until == 0:
		return 0
	case until > now:
		return until - now
	}
	return -1
}

func (b *breaker) isSoft() bool { return b.soft.Load() }

// claim makes the caller the probe of a half-open breaker. The claim lasts for a cooldown,
// during which nobody else probes.
func (b *breaker) claim(now int64, cooldown time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	until := b.until.Load()
	if until == 0 || until > now {
		return false
	}
	b.since = now
	b.setLocked(now+int64(cooldown), b.soft.Load())
	return true
}

// record learns from an attempt that began at begun.
func (b *breaker) record(now, begun int64, v verdict, retryAfter, cooldown time.Duration) {
	if v == neutral {
		return
	}
	if v == answered && b.until.Load() == 0 && b.quiet(now) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.Load() != 0 && begun < b.since {
		if v == limited { // only a longer wait is news
			b.setLocked(max(b.until.Load(), now+int64(clampRetry(retryAfter, cooldown))), true)
		}
		return
	}
	b.learnLocked(now, v, retryAfter, cooldown)
}

// learnLocked opens or closes the breaker after an attempt that counts.
func (b *breaker) learnLocked(now int64, v verdict, retryAfter, cooldown time.Duration) {
	open := b.until.Load() != 0
	b.countLocked(now, v)
	switch {
	case v == answered && open:
		b.closeLocked(now)
	case v == answered: // countLocked has noted it
	case v == limited:
		b.openLocked(now, clampRetry(retryAfter, cooldown), true)
	case open && (v == refused || !b.soft.Load()):
		b.reopens++
		b.failLocked(now, v, retryAfter, cooldown)
	case b.tripsLocked(v):
		b.failLocked(now, v, retryAfter, cooldown)
	}
}

// failLocked opens the breaker, for twice as long after each failed probe.
func (b *breaker) failLocked(now int64, v verdict, retryAfter, cooldown time.Duration) {
	d := min(cooldown<<min(b.reopens, 10), max(maxCooldown, cooldown))
	b.openLocked(now, max(d, min(retryAfter, maxRetryAfter)), v == refused)
}

// alive closes the breaker if an attempt that began since it opened has an answer coming: a
// probe need not be read to its end.
func (b *breaker) alive(now, begun int64) {
	if b.until.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.Load() != 0 && begun >= b.since {
		b.closeLocked(now)
	}
}

// quiet notes a good outcome of a closed breaker, and says whether there is no more to do.
// It keeps the common case short; the lock is the deployment's own and held for a moment.
func (b *breaker) quiet(now int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.Load() != 0 {
		return false
	}
	b.countLocked(now, answered)
	return true
}

// countLocked keeps the counts of the minute, and of bad outcomes in a row.
func (b *breaker) countLocked(now int64, v verdict) {
	if m := now / int64(time.Minute); m != b.minute {
		b.minute, b.total, b.bad = m, 0, 0
	}
	b.total++
	if v == failed {
		b.bad++
	}
	if v == answered || now-b.lastBad > int64(streakLife) {
		b.streak = 0
	}
	if v != answered {
		b.streak++
		b.lastBad = now
	}
}

func (b *breaker) tripsLocked(v verdict) bool {
	if v == refused {
		return b.streak+b.others >= refusedStreak
	}
	return b.streak+b.others >= failedStreak || (b.total >= minSample && 2*b.bad > b.total)
}

func (b *breaker) openLocked(now int64, d time.Duration, soft bool) {
	b.since = now
	b.setLocked(now+int64(d), soft)
}

// setLocked opens the breaker until a time that this node vouches for.
func (b *breaker) setLocked(until int64, soft bool) {
	b.mine = until
	b.heard = max(b.heard, until)
	b.soft.Store(soft)
	b.until.Store(until)
}

func (b *breaker) closeLocked(now int64) {
	b.healed, b.mine, b.reopens, b.streak, b.others = now, 0, 0, 0, 0
	b.minute, b.total, b.bad = 0, 0, 0 // what failed before says nothing about what works now
	b.until.Store(0)
}

// adopt opens the breaker until a time that another node found out. A cooldown that has
// been heard of before changes nothing: it may have been found to be over.
func (b *breaker) adopt(now, until int64, soft bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if until <= now || until <= b.heard+int64(sameCooldown) {
		return
	}
	b.heard = until
	b.since = now
	b.soft.Store(soft)
	b.until.Store(until)
}

// recover closes a breaker that was opened on another node's word, on another's word.
func (b *breaker) recover(now int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.Load() != 0 && b.mine <= now {
		b.closeLocked(now)
		b.healed = 0 // only the node that probed spreads the news
	}
}

// setOthers notes the sum of the bad outcomes in a row on the other nodes.
func (b *breaker) setOthers(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.others = n
}

// news is what other nodes are told of a breaker.
type news struct {
	rest      int64 // nanoseconds left of a cooldown that this node found out
	soft      bool
	recovered bool // a cooldown has ended well a short while ago
	streak    int  // bad outcomes in a row on this node
}

func (b *breaker) tell(now int64) news {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := news{soft: b.soft.Load()}
	if now-b.lastBad <= int64(streakLife) {
		n.streak = b.streak
	}
	if b.mine > now {
		n.rest = b.mine - now
	} else {
		n.recovered = b.healed != 0 && now-b.healed < int64(fadeEnd)
	}
	return n
}

func clampRetry(retryAfter, cooldown time.Duration) time.Duration {
	if retryAfter <= 0 {
		return cooldown
	}
	return min(retryAfter, maxRetryAfter)
}
