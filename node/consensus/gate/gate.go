package gate

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/conclave-llm/conclave/internal/clock"
)

const (
	stallMin    = time.Second      // a write that takes longer, or two heartbeats, is a stall
	applyStall  = 2 * time.Second  // a batch that is not applied by then is one
	quietAfter  = 60 * time.Second // for how long after a stall others go first, so that leadership does not flap
	yieldRounds = 6                // heartbeats that others have to become leader; then a quiet node campaigns, too
	roundGap    = 4                // heartbeats without a campaign: there is a leader, or was
	failWindow  = 30 * time.Second
	maxFailures = 3                // failed writes in failWindow end the process
	stallFatal  = 10 * time.Second // a write that hangs this long does
)

// ErrStalled is what a gated leader's messages end with.
var ErrStalled = errors.New("this node's disk or state machine is stalled")

// ErrHeld is what votes end with that must not be given or asked for yet.
var ErrHeld = errors.New("this node does not vote before it has heard of another node")

// Config says how to watch a node.
type Config struct {
	Boot      clock.Func
	Heartbeat time.Duration             // Raft's timeout
	Fatal     func(error)               // the node must exit and not go on; called at most once
	Observe   func(write time.Duration) // how long each write of the log took; nil: nobody measures
}

// Gate knows whether this node can still write and apply. While it cannot, the messages by
// which a leader stays one are held back: Raft itself never notices, because heartbeats do
// not touch the disk. It implements logstore.Watch and may be used by several goroutines.
type Gate struct {
	boot    clock.Func
	limit   time.Duration // of one write
	beat    time.Duration // Raft's heartbeat timeout
	fatal   func(error)
	observe func(write time.Duration)

	writing  atomic.Int64 // boot time at which the write under way began; 0: none
	applying atomic.Int64 // the same for a batch of the state machine
	quiet    atomic.Int64 // boot time until which this node lets others go first
	dead     atomic.Bool  // fatal was called
	armed    atomic.Bool  // see Arm

	mu       sync.Mutex // guards what follows
	failures []time.Duration
	yields   time.Duration // boot time since which a quiet node lets others go first; 0: it did not have to
	yielded  time.Duration // when it last did
}

// New makes a gate, which is not armed.
func New(cfg Config) *Gate {
	g := &Gate{boot: cfg.Boot, limit: max(2*cfg.Heartbeat, stallMin), beat: cfg.Heartbeat, fatal: cfg.Fatal, observe: cfg.Observe}
	if g.observe == nil {
		g.observe = func(time.Duration) {}
	}
	return g
}

// Arm says that the node is up. Before that, whoever starts it returns what is wrong, and
// Fatal is not called.
func (g *Gate) Arm() { g.armed.Store(true) }

// Begin implements logstore.Watch.
func (g *Gate) Begin() { g.writing.Store(int64(g.boot())) }

// End implements logstore.Watch. A failed sync is never tried again: the kernel may have dropped
// the pages, and the second sync would lie.
func (g *Gate) End(err error) {
	now := g.boot()
	if t := g.writing.Swap(0); t != 0 {
		took := now - time.Duration(t)
		if took > g.limit {
			g.quiet.Store(int64(now + quietAfter))
		}
		g.observe(took)
	}
	if err == nil {
		return
	}
	if errors.Is(err, syscall.EIO) || g.failing(now) {
		g.die(fmt.Errorf("write Raft's log: %w", err))
	}
}

// Broken implements logstore.Watch.
func (g *Gate) Broken(err error) { g.die(err) }

// failing counts a failed write and says whether there were too many.
func (g *Gate) failing(now time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.failures) > 0 && now-g.failures[0] > failWindow {
		g.failures = g.failures[1:]
	}
	g.failures = append(g.failures, now)
	return len(g.failures) >= maxFailures
}

// die calls fatal once, if the node is up.
func (g *Gate) die(err error) {
	if g.armed.Load() && g.dead.CompareAndSwap(false, true) {
		g.fatal(err)
	}
}

// Stalled says that a write or a batch takes too long, or that the node is about to end.
func (g *Gate) Stalled() bool {
	now := g.boot()
	if t := g.writing.Load(); t != 0 && now-time.Duration(t) > g.limit {
		return true
	}
	if t := g.applying.Load(); t != 0 && now-time.Duration(t) > applyStall {
		return true
	}
	return g.dead.Load()
}

// Check ends the process if a write hangs for good. It is to be called now and then.
func (g *Gate) Check() {
	if t := g.writing.Load(); t != 0 && g.boot()-time.Duration(t) > stallFatal {
		g.die(fmt.Errorf("write Raft's log: hangs for more than %v", stallFatal))
	}
}

// campaigns says whether the node, which has no leader, may ask for votes. After a stall it lets the others go first for some
// rounds, and not for longer: they may be as slow, or lack what this node's log has.
func (g *Gate) campaigns() bool {
	now := g.boot()
	if g.Stalled() {
		return false
	}
	if now >= time.Duration(g.quiet.Load()) {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.yields == 0 || now-g.yielded > roundGap*g.beat {
		g.yields = now
	}
	g.yielded = now
	return now-g.yields >= yieldRounds*g.beat
}
