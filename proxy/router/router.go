package router

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/resource"
)

// Config sets a Router up.
type Config struct {
	NodeID        string                // of this node; its own gossip is ignored
	Now           func() time.Time      // nil: clock.Steady
	Rand          func() float64        // in [0, 1), safe for concurrent use; nil: math/rand/v2
	LatencyBuffer float64               // deployments within lowest × (1 + buffer) are equal; 0: 0.1
	Cooldown      time.Duration         // of a deployment that failed, where it names no Retry-After; 0: 5 s
	Registerer    prometheus.Registerer // nil: metrics are not registered
}

// Target is one attempt of a plan.
type Target struct {
	Model      *resource.Model // that the deployment serves: the one asked for or a fallback
	Deployment *resource.Deployment
	Credential *resource.Credential // nil if the deployment names none
}

// Query is what a plan depends on beside the model.
type Query struct {
	Levels    []resource.Level // configured fallbacks that one does not allow are left out
	SessionID string           // requests with the same one prefer the same deployment; "": none

	// What the client wants in the place of what is configured. Who fills it in has checked
	// that the models may be used.
	Fallbacks   []string // if there are any
	NoFallbacks bool
	Retries     int // further attempts of each model, if HasRetries
	HasRetries  bool

	// Filter chooses among the deployments of a model that could take the request, and orders them: it
	// returns indexes of theirs, each at most once. Its error ends the plan. Nil: all, as they come.
	Filter Filter
}

// Filter is asked about the candidates of one model, in the order of the router, levels of Order first.
type Filter func(model *resource.Model, all []Candidate) ([]int, error)

// Candidate is a deployment that could take a request, and how busy it is.
type Candidate struct {
	Deployment *resource.Deployment
	InFlight   float64 // from this node
	Others     float64 // from the other nodes, as last heard
	FirstToken float64 // seconds; 0: not known
}

// Router makes plans. It is safe for concurrent use.
type Router struct {
	now     func() time.Time
	rand    func() float64
	buffer  float64
	stats   *Stats
	scratch sync.Pool // of *scratch
}

// New makes a Router with numbers that start at zero.
func New(cfg Config) *Router {
	r := &Router{now: cfg.Now, rand: cfg.Rand, buffer: cfg.LatencyBuffer}
	if r.now == nil {
		r.now = clock.Steady
	}
	if r.rand == nil {
		r.rand = rand.Float64
	}
	if r.buffer == 0 {
		r.buffer = 0.1
	}
	cooldown := cfg.Cooldown
	if cooldown == 0 {
		cooldown = defaultCooldown
	}
	r.stats = newStats(cfg.NodeID, r.now, r.rand, cooldown)
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(newCollector(r.stats))
	}
	r.scratch.New = func() any { return &scratch{cands: make([]candidate, 0, 16)} }
	return r
}

// Stats returns the numbers that plans are made from. They are a topic of the gossip.
func (r *Router) Stats() *Stats { return r.stats }

// Plan returns the attempts for a request for the model, best first: at most retries + 1 of
// the model's deployments, then as many of each fallback's. The last of a model's attempts
// goes to its next order level, if it has one. Without a fallback, deployments are repeated
// until there are retries + 1 attempts; the caller waits before it tries the same one again.
//
// It returns an *llm.Error: NotFound if the model has no deployment, Unavailable if none
// can be used, with RetryAfter set if that is because they cool down or are full.
func (r *Router) Plan(cat *resource.Catalog, model *resource.Model, q Query) ([]Target, error) {
	s := r.scratch.Get().(*scratch)
	defer r.release(s)
	p := planner{r: r, cat: cat, q: q, now: r.now().UnixNano(), scratch: s}
	fallbacks := p.fallbacks(model)
	room := q.attempts(model)
	for _, m := range fallbacks {
		room += q.attempts(m)
	}
	out := p.add(make([]Target, 0, room), model)
	repeat := !p.probing
	lone := p.lone
	for _, m := range fallbacks {
		out = p.add(out, m)
	}
	if len(out) == 0 && lone.Deployment != nil && len(fallbacks) == 0 {
		out = p.last(out, lone)
		repeat = true
	}
	switch {
	case p.err != nil:
		return nil, p.err
	case len(out) == 0:
		return nil, p.refused(model, fallbacks)
	case len(fallbacks) == 0 && repeat:
		return pad(out, q.attempts(model)), nil
	}
	return out, nil
}

// Begin counts a request in flight on the deployment until the Flight's End.
func (r *Router) Begin(deploymentID string) Flight { return r.stats.begin(deploymentID) }

// pad repeats the targets in their order until there are n.
func pad(out []Target, n int) []Target {
	for distinct := len(out); len(out) < n; {
		out = append(out, out[len(out)-distinct])
	}
	return out
}

// attempts is how many attempts at the model's deployments are made at most.
func (q *Query) attempts(m *resource.Model) int {
	if q.HasRetries {
		return q.Retries + 1
	}
	if m.Retries == nil {
		return resource.DefaultRetries + 1
	}
	return *m.Retries + 1
}

func (r *Router) release(s *scratch) {
	clear(s.cands[:cap(s.cands)]) // a pooled scratch must not keep an old catalog alive
	s.cands = s.cands[:0]
	clear(s.models[:])
	r.scratch.Put(s)
}
