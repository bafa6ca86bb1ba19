package auditlog

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/resource"
)

// The bounds that keep a flood of events from filling the log: of events that are alike one
// is told at once and the rest of their minute as a number, and in a minute only so many
// different ones are told apart. A node writes at most 2 × maxAlike + 2 × kinds of actions
// entries a minute.
const (
	flushEvery  = time.Second
	window      = time.Minute
	signInAgain = 12 * time.Hour // until the same credential's use from the same address is told again
	maxAlike    = 32             // kinds of events that are told apart in a window
	maxSignIns  = 4096           // that are remembered
	maxQueue    = 256            // events that wait for a leader
	lastFlush   = 2 * time.Second
)

// EventsConfig configures Events.
type EventsConfig struct {
	// Propose commits events as entries of the log.
	Propose    func(ctx context.Context, events []resource.AuditEvent) error
	Logger     *slog.Logger          // nil: logs nothing
	Registerer prometheus.Registerer // nil: counts nothing visible
}

// Events takes what people do without changing a record into the log. It may be used
// concurrently.
type Events struct {
	cfg     EventsConfig
	dropped prometheus.Counter

	mu      sync.Mutex // guards what follows
	open    map[alike]*pending
	signIns map[alike]time.Time
	queue   []resource.AuditEvent
}

// alike is what events have in common that are told as one.
type alike struct{ actor, network, action, kind, id, outcome string }

// pending is the events of one kind and minute.
type pending struct {
	event resource.AuditEvent // the first that is not told yet
	count uint64              // that are not told yet
	told  bool                // the first one of the minute was
	ends  time.Time
}

// NewEvents makes Events, which tells nothing before Run.
func NewEvents(cfg EventsConfig) *Events {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Events{
		cfg: cfg, open: map[alike]*pending{}, signIns: map[alike]time.Time{},
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "conclave_audit_events_dropped_total", Help: "Events that were not told because too many waited for a leader.",
		}),
	}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(e.dropped)
	}
	return e
}

// Note takes an event that may be told a moment later, and together with others like it.
func (e *Events) Note(ev resource.AuditEvent) {
	now := clock.Now()
	ev.At = resource.At(now)
	k := alike{ev.Actor, networkOf(ev.Address), ev.Action, ev.Kind, ev.ID, ev.Outcome}
	e.mu.Lock()
	defer e.mu.Unlock()
	if ev.Action == "sign_in" && ev.Outcome == "" {
		if now.Sub(e.signIns[k]) < signInAgain {
			return
		}
		if len(e.signIns) >= maxSignIns {
			clear(e.signIns)
		}
		e.signIns[k] = now
	}
	p, ok := e.open[k]
	if !ok && len(e.open) >= maxAlike {
		k = alike{action: ev.Action, outcome: ev.Outcome}
		ev = resource.AuditEvent{At: ev.At, Action: ev.Action, Outcome: ev.Outcome, Kind: "events", ID: "others"}
		p, ok = e.open[k]
	}
	if !ok {
		p = &pending{ends: now.Add(window)}
		e.open[k] = p
	}
	if p.count == 0 {
		p.event = ev
	}
	p.count++
}

// Record returns once the event is in the log.
func (e *Events) Record(ctx context.Context, ev resource.AuditEvent) error {
	return e.cfg.Propose(ctx, []resource.AuditEvent{ev})
}

// Run tells the events until ctx ends, and then the rest.
func (e *Events) Run(ctx context.Context) {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
			defer cancel()
			e.collect(clock.Now().Add(window))
			e.flush(last)
			return
		case now := <-tick.C:
			e.collect(now)
			e.flush(ctx)
		}
	}
}

// collect moves what is to be told now into the queue.
func (e *Events) collect(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var due []resource.AuditEvent
	for k, p := range e.open {
		over := !now.Before(p.ends)
		if p.count > 0 && (!p.told || over) {
			ev := p.event
			if p.count > 1 {
				ev.Count, ev.RequestID = p.count, ""
			} else {
				ev.At = 0
			}
			due = append(due, ev)
			p.count, p.told = 0, true
		}
		if over {
			delete(e.open, k)
		}
	}
	slices.SortFunc(due, func(a, b resource.AuditEvent) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Address, b.Address), cmp.Compare(a.Action, b.Action))
	})
	if over := len(e.queue) + len(due) - maxQueue; over > 0 {
		e.dropped.Add(float64(over))
		e.cfg.Logger.Warn("audit events are dropped; no leader takes them", "events", over)
		due = due[:len(due)-over]
	}
	e.queue = append(e.queue, due...)
}

// flush proposes what is in the queue. Without a leader it stays there.
func (e *Events) flush(ctx context.Context) {
	e.mu.Lock()
	events := slices.Clone(e.queue)
	e.mu.Unlock()
	if len(events) == 0 {
		return
	}
	if err := e.cfg.Propose(ctx, events); err != nil {
		e.cfg.Logger.Debug("audit events have to wait", "error", err)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queue = slices.Delete(e.queue, 0, len(events))
}

// networkOf is what an attacker has one of: an IPv4 address, or a network of IPv6.
func networkOf(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil || a.Unmap().Is4() {
		return address
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return address
	}
	return p.String()
}
