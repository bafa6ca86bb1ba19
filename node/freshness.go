package node

import (
	"errors"
	"math"
	"sync/atomic"
	"time"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/node/consensus/clocks"
	"github.com/conclave-llm/conclave/resource"
)

const (
	freshFor      = 10 * time.Second // after a node's own tick was sent
	adminStaleFor = 15 * time.Second
	unknownAge    = time.Duration(math.MaxInt64)
)

// freshness knows how old this node's state may be. The node is fresh if it has applied one
// of its own ticks that it sent less than freshFor ago; other nodes' ticks prove nothing,
// for a replayed backlog would look fresh. Time is the boot clock, which runs in suspend.
//
// Before the first tick of a process the mark of the one before counts, which the file last-tick has. After
// a restart of the machine there is the wall clock only, and it may be wrong: by it a state is never
// fresh and no key with a role is trusted, and if it is behind the time of the last tick, the age of the state is unknown,
// which is too old for all but serve_stale = forever.
type freshness struct {
	boot     clock.Func
	now      func() time.Time
	sent     atomic.Int64                                 // boot time at which the newest applied tick was sent; 0: none since the start
	before   tickMark                                     // of the process before, in this boot of the machine
	keep     func(tickMark)                               // for the next process
	lastTick func() (epoch, seq uint64, at resource.Time) // that the state holds; at 0: none
	limit    func() time.Duration                         // serve_stale: 0 fail closed, < 0 for ever
}

// applied notes that a tick has been applied here.
func (f *freshness) applied(m tickMark) {
	f.sent.Store(int64(m.sent))
	f.keep(m)
}

// Fresh says whether the state is fresh.
func (f *freshness) Fresh() bool { return f.age() < freshFor }

// age is for how long the state may have been old.
func (f *freshness) age() time.Duration {
	if sent := f.sent.Load(); sent != 0 {
		return f.boot() - time.Duration(sent)
	}
	epoch, seq, at := f.lastTick()
	if at == 0 {
		return unknownAge
	}
	if !f.before.zero() && f.before.in(epoch, seq) {
		if age := f.boot() - f.before.sent; age >= 0 { // else a container has another boot clock
			return age
		}
	}
	age := f.now().Sub(at.Std())
	if age < -clocks.MaxSkew { // it was another node's clock that told the time of the tick
		return unknownAge
	}
	return max(adminStaleFor, age)
}

// Serving returns an error if the state is too old for inference.
func (f *freshness) Serving() error {
	age := f.age()
	if limit := f.limit(); age < freshFor || limit < 0 || age < limit {
		return nil
	}
	out := &llm.Error{
		Kind: llm.Unavailable, Code: "stale", RetryAfter: time.Second,
		Message: "This node has not heard from the cluster's leader for too long. Ask another node.",
	}
	if age == unknownAge {
		out.Message = "This node has not heard from the cluster's leader since its machine was started, and cannot tell from its clock for how long. Ask another node."
	}
	return out
}

// errStale says that a key with a role cannot be trusted here now.
var errStale = errors.New("this node has not heard from the cluster's leader for 15 seconds")

// Stale returns an error if the state is too old to trust a key with a role.
func (f *freshness) Stale() error {
	if f.age() < adminStaleFor {
		return nil
	}
	return errStale
}
