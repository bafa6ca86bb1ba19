package order

import (
	"context"
	"log/slog"
	"time"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/proxy/files"
	"github.com/conclave-llm/conclave/resource"
)

const (
	// firstLook is when a batch is first asked for, after it was ordered, and the shortest wait between two questions.
	firstLook = time.Minute
	// waitShare is what part of its age a batch is left alone for: one of an hour for six minutes.
	waitShare = 10
	// longestWait is the longest wait.
	longestWait = time.Hour
	// watchEvery is how often the watch looks which batches are to be asked for.
	watchEvery = 10 * time.Second
	// lookTimeout bounds a look at one batch, so that a provider that hangs does not keep the others waiting for ever.
	lookTimeout = 10 * time.Minute
)

// WatchConfig is what a Watch is made of; all fields are required but Member, Every, Now and Logger.
type WatchConfig struct {
	Store files.Store
	// Leads says whether this node is the one that asks now.
	Leads func() bool
	// Member is the node's id in the cluster: what it has begun to book it books, whoever leads. "": it has begun nothing.
	Member string
	// Look asks the provider how a batch is and, if it is over, books what it has used.
	Look func(ctx context.Context, a *resource.Artifact) error
	// Every is when a batch is first asked for; 0: after a minute. The other waits follow it.
	Every  time.Duration
	Now    func() time.Time // nil: clock.Now
	Logger *slog.Logger     // nil: nobody is told
}

// Watch asks providers for the batches that they run, on one node of the cluster, until what each has used is booked: on the
// leader, and one that a node has begun to book on that node. Each is asked for less and less often.
type Watch struct {
	cfg WatchConfig

	// What follows is owned by Run.
	next   map[string]time.Time // when a batch is asked for
	led    bool                 // it did in the last round
	looked time.Time            // when the records were read last
}

// NewWatch makes a Watch.
func NewWatch(cfg WatchConfig) *Watch {
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Every == 0 {
		cfg.Every = firstLook
	}
	return &Watch{cfg: cfg, next: map[string]time.Time{}}
}

// Run watches until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	tick := time.NewTicker(min(watchEvery, w.cfg.Every))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.Round(ctx)
		}
	}
}

// Round asks for those batches whose time has come, one after the other. A node that leads no more forgets all times: it asks
// anew when it leads again. Until then it looks less often for what it has begun, which is rare.
func (w *Watch) Round(ctx context.Context) {
	leads := w.cfg.Leads()
	if w.led && !leads {
		clear(w.next)
	}
	w.led = leads
	if now := w.cfg.Now(); leads || now.Sub(w.looked) >= w.cfg.Every {
		w.looked = now
		w.ask(ctx, leads)
	}
}

// ask asks for those of the batches that are the leader's, or only of those that this node has begun to book, whose time has come.
func (w *Watch) ask(ctx context.Context, leads bool) {
	open, err := w.cfg.Store.List(ctx, func(a *resource.Artifact) bool {
		return a.Order != nil && a.ChargedAt == 0 && (leads || w.began(a))
	})
	if err != nil {
		return // the node stops
	}
	before := w.next
	w.next = make(map[string]time.Time, len(open)) // without those that are booked, or gone
	for _, a := range open {
		at, ok := before[a.ID]
		if !ok {
			at = a.CreatedAt.Std().Add(w.cfg.Every)
		}
		if now := w.cfg.Now(); !now.Before(at) && ctx.Err() == nil && (w.began(a) || w.cfg.Leads()) {
			if err := w.look(ctx, a); err != nil {
				w.cfg.Logger.Warn("a provider's batch is not booked yet", "batch", a.ID, "error", err)
			}
			at = now.Add(w.wait(now.Sub(a.CreatedAt.Std())))
		}
		w.next[a.ID] = at
	}
}

// began says whether this node has begun to book the batch, which nobody else does then.
func (w *Watch) began(a *resource.Artifact) bool {
	return a.Order.Booker != "" && a.Order.Booker == w.cfg.Member
}

func (w *Watch) look(ctx context.Context, a *resource.Artifact) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	return w.cfg.Look(ctx, a)
}

// wait is how long a batch of an age is left alone.
func (w *Watch) wait(age time.Duration) time.Duration {
	return min(max(age/waitShare, w.cfg.Every), longestWait)
}
