package node

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

const (
	freshFor      = 10 * time.Second // after a node's own tick was sent
	adminStaleFor = 15 * time.Second
)

// freshness knows how old this node's state may be. The node is fresh if it has applied one
// of its own ticks that it sent less than freshFor ago; other nodes' ticks prove nothing,
// for a replayed backlog would look fresh. Time is the boot clock, which runs in suspend.
type freshness struct {
	boot     clock.Func
	now      func() time.Time
	sent     atomic.Int64 // boot time at which the newest applied tick was sent; 0: none since the start
	lastTick func() resource.Time
	limit    func() time.Duration // serve_stale: 0 fail closed, < 0 for ever
}

// applied notes that a tick that was sent at the boot time has been applied here.
func (f *freshness) applied(sent time.Duration) { f.sent.Store(int64(sent)) }

// Fresh says whether the state is fresh.
func (f *freshness) Fresh() bool { return f.age() < freshFor }

// age is for how long the state may have been old. Before the first tick of this process it
// follows from the last one that the state holds.
func (f *freshness) age() time.Duration {
	if sent := f.sent.Load(); sent != 0 {
		return f.boot() - time.Duration(sent)
	}
	last := f.lastTick()
	if last == 0 {
		return 1<<63 - 1
	}
	return max(0, f.now().Sub(last.Std()))
}

// Serving returns an error if the state is too old for inference.
func (f *freshness) Serving() error {
	age := f.age()
	if limit := f.limit(); age < freshFor || limit < 0 || age < limit {
		return nil
	}
	return &llm.Error{
		Kind: llm.Unavailable, Code: "stale", RetryAfter: time.Second,
		Message: "This node has not heard from the cluster's leader for too long. Ask another node.",
	}
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
