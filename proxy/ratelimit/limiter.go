package ratelimit

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/internal/clock"
)

const shardCount = 64

// Peers carries what limiters tell each other.
type Peers interface {
	// Send sends a frame to the member's Limiter.Receive, once or not at all. It does not
	// block. The frame is not changed afterwards.
	Send(node string, frame []byte)
	// Ask sends a question to the member's Limiter.Answer, once or not at all, and returns
	// the answer. One that comes within a few seconds after ctx has ended goes to late, in a
	// goroutine of its own.
	Ask(ctx context.Context, node string, question []byte, late func(answer []byte)) ([]byte, error)
}

// Config says where a Limiter stands in its cluster.
type Config struct {
	NodeID     string
	Members    func() []string // ids of all members, this one too, or none while they are not known; nil: this one alone
	Peers      Peers           // nil: nobody is told or asked anything
	Clock      clock.Func      // nil: clock.Boot
	Boot       uint64          // differs in each run; 0: a random one
	Tape       Tape            // outlives the process; nil: a restart forgets what was admitted
	Registerer prometheus.Registerer
}

// Limiter counts limits together with its peers. Its methods may be called concurrently.
type Limiter struct {
	cfg     Config
	metrics metrics
	boot    uint64
	tape    recorder
	words   atomic.Int64 // numbers questions and reports
	before  history      // of the last run, from the tape
	shards  [shardCount]shard
	net     network
	view    atomic.Pointer[view]
	pool    sync.Pool
	stop    chan struct{}
	done    chan struct{}
}

type shard struct {
	mu       sync.RWMutex
	counters map[uint64]*counter // guarded by mu
}

// New makes a Limiter that has counted what its tape holds.
func New(cfg Config) *Limiter {
	if cfg.Clock == nil {
		cfg.Clock = clock.Boot
	}
	if cfg.Boot == 0 {
		cfg.Boot = rand.Uint64() | 1 //nolint:gosec // tells runs apart, guards nothing
	}
	l := &Limiter{cfg: cfg, boot: cfg.Boot, stop: make(chan struct{}), done: make(chan struct{})}
	l.net.index = make(map[string]int)
	for i := range l.shards {
		l.shards[i].counters = make(map[uint64]*counter)
	}
	l.pool.New = func() any { return new(Hold) }
	l.metrics = newMetrics(cfg.Registerer, l.handingOver)
	now := cfg.Clock()
	l.remember(now)
	l.lookAgain(now)
	return l
}

// Start begins the rounds.
func (l *Limiter) Start() { go l.run() }

// Stop ends the rounds and waits for the last one.
func (l *Limiter) Stop() {
	close(l.stop)
	<-l.done
}

func (l *Limiter) run() {
	defer close(l.done)
	t := time.NewTicker(roundEvery)
	defer t.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-t.C:
			l.Round()
		}
	}
}

// each calls f for each counter with its lock held, and forgets those it returns false for.
func (l *Limiter) each(f func(c *counter) bool) {
	var all []*counter
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.RLock()
		all = all[:0]
		for _, c := range s.counters {
			all = append(all, c)
		}
		s.mu.RUnlock()
		for _, c := range all {
			c.mu.Lock()
			keep := f(c)
			c.dead = !keep
			c.mu.Unlock()
			if !keep {
				s.mu.Lock()
				delete(s.counters, c.id)
				s.mu.Unlock()
			}
		}
	}
}

// lock finds or makes a counter and locks it.
func (l *Limiter) lock(id uint64, dim dimension) *counter {
	s := &l.shards[id%shardCount]
	for {
		s.mu.RLock()
		c := s.counters[id]
		s.mu.RUnlock()
		if c == nil {
			s.mu.Lock()
			if c = s.counters[id]; c == nil {
				c = &counter{id: id, dim: dim, limit: -1}
				s.counters[id] = c
			}
			s.mu.Unlock()
		}
		c.mu.Lock()
		if !c.dead {
			return c
		}
		c.mu.Unlock()
	}
}

func hashNode(id string) uint64 { return xxhash.Sum64String(id) }

// mix is a 64-bit finalizer of a and b, for rendezvous hashing.
func mix(a, b uint64) uint64 {
	x := a ^ (b + 0x9e3779b97f4a7c15 + a<<6 + a>>2)
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
