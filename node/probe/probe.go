// Package probe finds out whether the deployments' backends can be reached, by requests that use no
// tokens: the provider's list of models, or a connection where it has none. The leader asks, once an
// interval for the whole cluster, and gossip carries its verdict and the reason to every node.
//
// Time is cut into slots of one interval, beginning at another moment for each backend so that not
// all are asked at once. A backend is asked once a slot: whoever leads knows from gossip whether that
// was done, so a change of the leader neither repeats nor skips it, but for what dies on the way.
//
// Deployments that name a health_check_model are asked by a request to it too, by a Prober of the Kind
// Paid: the request goes the way of all requests, and is booked on the team resource.SystemTeamID.
package probe

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/resource"
)

const (
	look     = 500 * time.Millisecond // how often the leader looks for what is due
	settle   = 2 * time.Second        // that a new leader listens first to what the last one has done
	atOnce   = 16                     // backends that are asked at the same time
	remember = 100                    // verdicts of one backend that a node keeps
)

// Config says what a Prober needs.
type Config struct {
	Kind    *Kind // nil: Reach
	NodeID  string
	Catalog func() *resource.Catalog
	Leads   func() bool
	// Ask sends one request to the deployment's backend; of the Kind Reach, one that uses no tokens. An
	// ErrSkipped says that it sent none.
	Ask        func(ctx context.Context, d *resource.Deployment) error
	Now        func() time.Time // nil: clock.Now
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are not registered
}

// Prober asks, where its node leads, and knows what was found, on every node.
type Prober struct {
	cfg   Config
	kind  Kind
	asked *prometheus.CounterVec

	mu    sync.Mutex // guards what follows
	known map[uint64]*backend
	next  int // of the round of what is shared
}

// backend is what is known of one backend.
type backend struct {
	hash    uint64
	last    Verdict
	told    int // times that last was shared
	history []Verdict
}

// New makes a Prober; Run starts it.
func New(cfg Config) *Prober {
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	kind := Reach()
	if cfg.Kind != nil {
		kind = *cfg.Kind
	}
	p := &Prober{cfg: cfg, kind: kind, known: map[uint64]*backend{}, asked: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "conclave_health_probes_total", Help: "Health checks that this node has made: of the kind reach without tokens, of the kind request by a request to a model.",
		ConstLabels: prometheus.Labels{"kind": kind.name},
	}, []string{"result"})}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(p.asked)
	}
	return p
}

// Run asks what is due while the node leads, until ctx ends. It waits for the probes under way.
func (p *Prober) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	places := make(chan struct{}, atOnce)
	t := time.NewTicker(look)
	defer t.Stop()
	var leads time.Time // since when; zero: it does not
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		set := p.cfg.Catalog().Settings()
		switch now := p.cfg.Now(); {
		case !set.HealthChecks || !p.cfg.Leads():
			leads = time.Time{}
		case leads.IsZero():
			leads = now
		case now.Sub(leads) >= settle:
			for _, d := range p.due(now, p.kind.every(set)) {
				places <- struct{}{}
				wg.Go(func() {
					defer func() { <-places }()
					p.ask(ctx, d)
				})
			}
		}
	}
}

// due takes the backends that were not asked in their slot of now, each by one of its deployments,
// and notes that they are being asked.
func (p *Prober) due(now time.Time, every time.Duration) []*resource.Deployment {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := map[uint64]bool{}
	var all []*resource.Deployment
	for _, d := range p.cfg.Catalog().Tables().Deployments {
		h := p.kind.hash(d)
		if d.Blocked || seen[h] || !p.kind.wants(d) {
			continue
		}
		seen[h] = true
		b := p.backendLocked(h)
		slot := slotOf(h, now, every)
		if b.last.Every == every && b.last.Slot >= slot {
			continue
		}
		b.last, b.told = Verdict{Slot: slot, Every: every, Result: Pending, At: now, before: b.last.settled()}, 0
		all = append(all, d)
	}
	for h := range p.known { // whose deployments are gone
		if !seen[h] && now.Sub(p.known[h].last.At) > 2*every {
			delete(p.known, h)
		}
	}
	return all
}

func (p *Prober) backendLocked(h uint64) *backend {
	b := p.known[h]
	if b == nil {
		b = &backend{hash: h}
		p.known[h] = b
	}
	return b
}

// ask probes one backend and notes the verdict.
func (p *Prober) ask(ctx context.Context, d *resource.Deployment) {
	ctx, cancel := context.WithTimeout(ctx, p.kind.timeout)
	defer cancel()
	began := p.cfg.Now()
	err := p.cfg.Ask(ctx, d)
	if errors.Is(err, ErrSkipped) {
		p.skip(d, err)
		return
	}
	v := p.kind.judge(err)
	v.At, v.Took = p.cfg.Now(), p.cfg.Now().Sub(began)
	p.asked.WithLabelValues(v.Result.String()).Inc()
	p.mu.Lock()
	b := p.backendLocked(p.kind.hash(d))
	was := b.last.settled()
	changed := was == nil && !v.Result.Healthy() || was != nil && was.Result.Healthy() != v.Result.Healthy()
	v.Slot, v.Every = b.last.Slot, b.last.Every
	p.noteLocked(b, v)
	p.mu.Unlock()
	if p.cfg.Logger != nil && changed && ctx.Err() == nil {
		p.cfg.Logger.Info("backend changed", "check", p.kind.name, "deployment_id", d.ID, "provider", d.Provider, "healthy", v.Result.Healthy(), "reason", v.Reason())
	}
}

// skip notes that a slot has gone by without a question: what was known stays so.
func (p *Prober) skip(d *resource.Deployment, err error) {
	p.asked.WithLabelValues("skipped").Inc()
	p.mu.Lock()
	b := p.backendLocked(p.kind.hash(d))
	if was := b.last.settled(); was != nil {
		slot, every := b.last.Slot, b.last.Every
		b.last, b.told = *was, 0
		b.last.Slot, b.last.Every = slot, every
	}
	p.mu.Unlock()
	if p.cfg.Logger != nil {
		p.cfg.Logger.Warn("health check skipped", "deployment_id", d.ID, "error", err)
	}
}

func (p *Prober) noteLocked(b *backend, v Verdict) {
	v.before = nil
	b.last, b.told = v, 0
	b.history = append(b.history, v)
	if len(b.history) > remember {
		b.history = slices.Delete(b.history, 0, len(b.history)-remember)
	}
}

// Of is the newest verdict about a deployment's backend; false: there is none yet.
func (p *Prober) Of(d *resource.Deployment) (Verdict, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.known[p.kind.hash(d)]
	if b == nil {
		return Verdict{}, false
	}
	v := b.last.settled()
	if v == nil {
		return Verdict{}, false
	}
	return *v, true
}

// History is what this node has heard about a deployment's backend, the newest first.
func (p *Prober) History(d *resource.Deployment) []Verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.known[p.kind.hash(d)]
	if b == nil {
		return nil
	}
	all := slices.Clone(b.history)
	slices.Reverse(all)
	return all
}

// Hash names the backend of a deployment alike on all nodes: deployments at the same address with the
// same credential have one.
func Hash(d *resource.Deployment) uint64 {
	own := ""
	if d.APIKey != nil || len(d.Secrets) > 0 || len(d.Options) > 0 {
		own = d.ID
	}
	h := xxhash.New()
	for _, s := range []string{d.Provider, d.APIBase, d.CredentialID, own} {
		_, _ = h.WriteString(s)
		_, _ = h.Write([]byte{0})
	}
	return h.Sum64()
}

// slotOf numbers the slot of a backend at a moment.
func slotOf(h uint64, now time.Time, every time.Duration) int64 {
	return (now.UnixNano() - int64(h%uint64(every))) / int64(every)
}
