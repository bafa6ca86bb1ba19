package courier

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/resource/alert"
)

const (
	watchEvery = 15 * time.Second
	// watchGrace is how long a state may be out of sight before it has ended: deployments are tried
	// between two cooldowns, and nodes that start are seen and lost again.
	watchGrace = 2 * watchEvery
)

// Source sees the occasions of one kind of alerts.
type Source struct {
	Kind  string
	Every time.Duration // between two looks; 0: each time that the Watch looks
	// Look lists what is the case now. ok is false if that cannot be told.
	Look func(ctx context.Context) (now []Sight, ok bool)
}

// Sight is one occasion. Its key is made of the kind and ID.
type Sight struct {
	ID      string        // of the occasion, within the kind
	After   time.Duration // how long it has to last before somebody is told
	Lasting bool          // it is a state that ends; else it is told once
	Subject string
	Name    string
	Text    string
}

// WatchConfig says what a Watch works on. All fields but Look, Now and Logger are required.
type WatchConfig struct {
	Sources []Source
	// Open lists the alerts about lasting states, by key.
	Open    func() map[string]string
	Leads   func() bool
	Propose func(ctx context.Context, cmd fsm.Command) error
	Look    <-chan time.Time // when to look; nil: every fifteen seconds
	Now     func() time.Time // default: clock.Now
	Logger  *slog.Logger     // default: discards
}

// Watch raises alerts about states of the cluster, on the node that leads.
type Watch struct {
	cfg    WatchConfig
	looked map[string]time.Time // by kind
	seen   map[string]*seen     // by key
}

// seen is what is known of an occasion.
type seen struct {
	sight       Sight
	first, last time.Time
	told        bool // it was proposed by this node
}

// NewWatch returns a Watch, which does nothing before Run.
func NewWatch(cfg WatchConfig) *Watch {
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Watch{cfg: cfg, looked: map[string]time.Time{}, seen: map[string]*seen{}}
}

// Run looks, as long as this node leads, until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	look := w.cfg.Look
	if look == nil {
		t := time.NewTicker(watchEvery)
		defer t.Stop()
		look = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-look:
		}
		if w.cfg.Leads() {
			w.Pass(ctx)
		} else {
			clear(w.looked)
			clear(w.seen)
		}
	}
}

// Pass looks once, raises what is to be told and ends what is over. One goroutine calls it.
func (w *Watch) Pass(ctx context.Context) {
	now := w.cfg.Now()
	var raise []alert.Alert
	var end []string
	open := w.cfg.Open()
	for _, s := range w.cfg.Sources {
		if at, ok := w.looked[s.Kind]; ok && now.Sub(at) < s.Every {
			continue
		}
		sights, ok := s.Look(ctx)
		if !ok {
			continue
		}
		w.looked[s.Kind] = now
		w.keep(s, sights, now)
		raise, end = w.judge(s, now, open, raise, end)
	}
	w.propose(ctx, raise, end)
}

// keep notes what a source sees, and forgets what it does not see any more.
func (w *Watch) keep(s Source, sights []Sight, now time.Time) {
	for _, x := range sights {
		key := s.Kind + "/" + x.ID
		e := w.seen[key]
		if e == nil {
			e = &seen{first: now}
			w.seen[key] = e
		}
		e.sight, e.last = x, now
	}
	for key, e := range w.seen {
		if strings.HasPrefix(key, s.Kind+"/") && now.Sub(e.last) > max(watchGrace, s.Every) {
			delete(w.seen, key)
		}
	}
}

// judge adds what a source's kind has to tell.
func (w *Watch) judge(s Source, now time.Time, open map[string]string, raise []alert.Alert, end []string) ([]alert.Alert, []string) {
	for key, e := range w.seen {
		_, isOpen := open[key]
		x := e.sight
		if !strings.HasPrefix(key, s.Kind+"/") || isOpen || e.told && !x.Lasting || now.Sub(e.first) < x.After {
			continue
		}
		raise = append(raise, alert.Alert{Kind: s.Kind, Key: key, Subject: x.Subject, Name: x.Name, Text: x.Text, Lasting: x.Lasting})
	}
	for key := range open {
		if strings.HasPrefix(key, s.Kind+"/") && w.seen[key] == nil {
			end = append(end, key)
		}
	}
	return raise, end
}

func (w *Watch) propose(ctx context.Context, raise []alert.Alert, end []string) {
	slices.SortFunc(raise, func(a, b alert.Alert) int { return strings.Compare(a.Key, b.Key) })
	slices.Sort(end)
	for part := range slices.Chunk(raise, fsm.MaxAlerts) {
		if !w.commit(ctx, fsm.RaiseAlerts{Alerts: part}) {
			return
		}
		for _, a := range part {
			w.seen[a.Key].told = true
		}
	}
	for part := range slices.Chunk(end, fsm.MaxAlerts) {
		if !w.commit(ctx, fsm.EndAlerts{Keys: part}) {
			return
		}
	}
}

func (w *Watch) commit(ctx context.Context, cmd fsm.Command) bool {
	err := w.cfg.Propose(ctx, cmd)
	if err != nil && ctx.Err() == nil {
		w.cfg.Logger.Warn("alerts about the cluster are not raised; the next look tries again", "error", err)
	}
	return err == nil
}
