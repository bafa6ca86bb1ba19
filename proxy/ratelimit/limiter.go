package ratelimit

import (
	"context"
	"errors"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/resource"
)

const (
	shardCount  = 64
	smallFactor = 4                      // a limit below so many for each member is counted by its owner
	waitAtMost  = 300 * time.Millisecond // for the next rounds
	askAtMost   = 100 * time.Millisecond // for the owner of a small limit: a first call shakes hands, and without an answer each node admits one on its own
)

// Peers carries what limiters tell each other.
type Peers interface {
	// Send sends a frame to the member's Limiter.Receive, in order with earlier ones. It
	// does not block; what cannot be sent is dropped. The frame is not changed afterwards.
	Send(node string, frame []byte)
	// Ask sends a question to the member's Limiter.Answer and returns the answer.
	Ask(ctx context.Context, node string, question []byte) ([]byte, error)
}

// Config says where a Limiter stands in its cluster.
type Config struct {
	NodeID     string
	Members    func() []string  // ids of all members, this one too; nil: this one alone
	Peers      Peers            // nil: nobody is told anything
	Now        func() time.Time // nil: time.Now
	Boot       uint64           // differs in each run; 0: a random one
	Registerer prometheus.Registerer
}

// Limiter counts limits together with its peers. Its methods may be called concurrently.
type Limiter struct {
	cfg     Config
	metrics metrics
	boot    uint64
	started time.Time
	seed    maphash.Seed
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

// New makes a Limiter that has counted nothing.
func New(cfg Config) *Limiter {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Boot == 0 {
		cfg.Boot = rand.Uint64() | 1 //nolint:gosec // tells runs apart, guards nothing
	}
	l := &Limiter{
		cfg: cfg, boot: cfg.Boot, started: cfg.Now(), seed: maphash.MakeSeed(),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	l.net.index = make(map[string]int)
	for i := range l.shards {
		l.shards[i].counters = make(map[uint64]*counter)
	}
	l.pool.New = func() any { return new(Hold) }
	l.metrics = newMetrics(cfg.Registerer)
	l.look(l.started)
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

func (l *Limiter) members() []string {
	if l.cfg.Members == nil {
		return nil
	}
	return l.cfg.Members()
}

func (l *Limiter) roundNow() uint64 { return l.view.Load().round }

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

// part says which of a holder's limits are meant.
type part byte

const (
	partAll     part = 0 // those of all requests
	partModel   part = 1 // those of one model
	partSession part = 2 // those of one agent session
)

// holder is one set of limits.
type holder struct {
	kind, id string
	part     part
	of       string // the model or the session
}

func (o holder) String() string {
	switch o.part {
	case partModel:
		return o.kind + " for model " + o.of
	case partSession:
		return o.kind + " for one session"
	default:
		return o.kind
	}
}

// limit names one limit alike on all nodes.
func (o holder) limit(dim dimension) uint64 {
	id := mix(xxhash.Sum64String(o.id), xxhash.Sum64String(o.kind)+uint64(dim))
	if o.part != partAll {
		id = mix(id, xxhash.Sum64String(o.of)+uint64(o.part))
	}
	return id
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

// ownerOf is the member that counts a small limit.
func (l *Limiter) ownerOf(id uint64, members []string) string {
	owner, best := l.cfg.NodeID, uint64(0)
	for _, m := range members {
		if w := mix(id, hashNode(m)); w >= best {
			owner, best = m, w
		}
	}
	return owner
}

// ask lets the owner count the request; ok is false if it did not answer in time.
func (l *Limiter) ask(owner string, q question) (a answer, ok bool) {
	if l.cfg.Peers == nil {
		return answer{}, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), askAtMost)
	defer cancel()
	b, err := l.cfg.Peers.Ask(ctx, owner, q.encode())
	if err != nil {
		return answer{}, false
	}
	a, err = parseAnswer(b)
	return a, err == nil
}

var errCold = errors.New("this node has just started and does not know the counts of its last run")

// Answer counts a request of another member against a limit that this node owns.
func (l *Limiter) Answer(node string, b []byte) ([]byte, error) {
	q, err := parseQuestion(b)
	if err != nil {
		return nil, err
	}
	if !l.view.Load().warm {
		return nil, errCold
	}
	now := l.cfg.Now()
	l.net.mu.Lock()
	i, _ := l.net.peerLocked(node)
	l.net.mu.Unlock()
	c := l.lock(q.id, q.dim)
	defer c.mu.Unlock()
	c.limit = q.limit
	if q.dim == parallel {
		if p := c.peerLocked(i); q.seq >= p.seq {
			p.total, p.seq, p.heard = q.total, q.seq, true
		}
	}
	known := c.knownLocked(now.Unix())
	a := answer{admitted: known+q.cost <= q.limit, known: known}
	if !a.admitted {
		a.retry = int64(c.retryLocked(now, q.cost, q.limit))
		return a.encode(), nil
	}
	a.known += q.cost
	if q.dim == parallel {
		p := c.peerLocked(i)
		p.total, p.seq = q.total+q.cost, q.seq+1
		c.used = now.Unix()
	} else {
		c.countLocked(now.Unix(), q.cost, l.roundNow())
	}
	return a.encode(), nil
}

// Request is what is to be admitted.
type Request struct {
	Levels  []resource.Level // whose limits count
	Model   string           // as clients name it: whose own limits count; "": none
	Input   int64            // estimate of the prompt's tokens
	Output  int64            // estimate of the completion's tokens
	Session string           // id of the agent session; "": none
}
