package auditlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/resource"
)

const (
	lookEvery    = time.Second      // at the leadership and the settings
	pollEvery    = time.Second      // at the log, for a sink that has everything
	pruneEvery   = time.Minute      // at the oldest entries
	batch        = 200              // entries of one delivery
	backoffMin   = time.Second      // after a delivery that failed
	backoffMax   = time.Minute      //
	deliverLimit = 30 * time.Second // of one delivery
	maxSlack     = 24 * time.Hour   // by which entries may outlive their retention
)

// State reads the replicated state. *fsm.FSM implements it.
type State interface {
	AuditPage(q fsm.AuditQuery) audit.Page
	AuditExtent() audit.Extent
	Catalog() *resource.Catalog
	Cluster() (fsm.ClusterInfo, bool)
}

// Config configures a Keeper.
type Config struct {
	State State
	// Leads says whether this node leads the cluster, and has applied what earlier leaders
	// did.
	Leads func() bool
	// Propose commits a command of this node.
	Propose func(ctx context.Context, cmd fsm.Command) error
	// Sign signs an anchor with the key of the cluster's CA.
	Sign func(a *resource.AuditAnchor) error
	// Callback hands entries to a callback of the cluster and returns how many are safe.
	Callback func(ctx context.Context, name string, entries []resource.AuditEntry) (int, error)

	// Dial connects to a receiver of syslog over the network; nil: directly.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	Now        func() time.Time      // nil: clock.Now
	Dir        string                // where relative paths of file sinks begin
	Logger     *slog.Logger          // nil: logs nothing
	Registerer prometheus.Registerer // nil: counts nothing visible
}

// Keeper does the leader's work on the audit log.
type Keeper struct {
	cfg     Config
	metrics metrics

	mu   sync.Mutex      // guards lost
	lost map[string]loss // by sink
}

type metrics struct {
	delivered *prometheus.CounterVec
	failures  *prometheus.CounterVec
	lag       *prometheus.GaugeVec
	late      *prometheus.GaugeVec
	dropped   *prometheus.CounterVec
	pruned    prometheus.Counter
}

// NewKeeper makes a Keeper, which does nothing before Run.
func NewKeeper(cfg Config) *Keeper {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	label := []string{"sink"}
	k := &Keeper{cfg: cfg, lost: map[string]loss{}, metrics: metrics{
		delivered: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_audit_delivered_total", Help: "Audit entries that a sink has taken from this node.",
		}, label),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_audit_failures_total", Help: "Deliveries of audit entries that a sink did not take as a whole.",
		}, label),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "conclave_audit_lag_entries", Help: "Audit entries that a sink has not taken; of the leader only.",
		}, label),
		late: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "conclave_audit_lag_seconds", Help: "For how long the oldest audit entry waits that a sink has not taken; of the leader only.",
		}, label),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_audit_dropped_total", Help: "Audit entries that this node pruned, as leader, before a sink had taken them.",
		}, label),
		pruned: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "conclave_audit_pruned_total", Help: "Audit entries that this node pruned as leader.",
		}),
	}}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(k.metrics.delivered, k.metrics.failures, k.metrics.lag, k.metrics.late, k.metrics.dropped, k.metrics.pruned)
	}
	return k
}

// Run works whenever this node leads, until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	running := map[resource.AuditSink]func(){}
	defer func() { stopAll(running) }()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	var pruned time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-look.C:
			if !k.cfg.Leads() {
				stopAll(running)
				continue
			}
			k.syncSinks(ctx, running)
			if now.Sub(pruned) >= pruneEvery {
				pruned = now
				k.report(ctx, "prune audit log", k.Prune(ctx, k.cfg.Now()))
			}
		}
	}
}

func (k *Keeper) report(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		k.cfg.Logger.Warn("audit log is not kept as configured", "step", what, "error", err)
	}
}

func stopAll(running map[resource.AuditSink]func()) {
	for s, stop := range running {
		stop()
		delete(running, s)
	}
}

// syncSinks makes what runs match the settings.
func (k *Keeper) syncSinks(ctx context.Context, running map[resource.AuditSink]func()) {
	wanted := k.cfg.State.Catalog().Settings().Audit.Sinks
	for s, stop := range running {
		if !slices.Contains(wanted, s) {
			stop()
			delete(running, s)
			k.metrics.lag.DeleteLabelValues(s.Name)
			k.metrics.late.DeleteLabelValues(s.Name)
		}
	}
	for _, s := range wanted {
		if running[s] == nil {
			running[s] = k.start(ctx, s)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(k.cfg.State.AuditExtent().Sinks)) {
		if !slices.ContainsFunc(wanted, func(s resource.AuditSink) bool { return s.Name == name }) {
			k.report(ctx, "forget sink", k.cfg.Propose(ctx, fsm.MarkAudit{Sink: name}))
		}
	}
}

// start delivers to a sink in the background; the function returned stops that and waits.
func (k *Keeper) start(ctx context.Context, s resource.AuditSink) func() {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { k.serve(ctx, s) })
	return func() {
		cancel()
		wg.Wait()
	}
}

// serve delivers to one sink until ctx ends. The mark in the replicated state says where
// this leader, or the next one, goes on.
func (k *Keeper) serve(ctx context.Context, s resource.AuditSink) {
	to := k.newSink(s)
	defer to.close()
	mark := k.cfg.State.AuditExtent().Sinks[s.Name]
	at := place{sent: mark, marked: mark}
	failures := 0
	for ctx.Err() == nil {
		moved, err := k.step(ctx, s.Name, to, &at)
		wait := pollEvery
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			k.metrics.failures.WithLabelValues(s.Name).Inc()
			k.cfg.Logger.Warn("audit entries are not delivered", "sink", s.Name, "failures", failures+1, "error", err)
			wait = min(backoffMax, backoffMin<<min(failures, 10))
			failures++
		case moved:
			failures, wait = 0, 0
		default:
			failures = 0
		}
		sleep(ctx, wait)
	}
}

// place is how far a sink is: the number of the last entry that it was sent, and of the last that the replicated state knows
// to be safe there.
type place struct{ sent, marked uint64 }

// step delivers the entries behind the place, and says whether it has come further.
func (k *Keeper) step(ctx context.Context, name string, to sink, at *place) (moved bool, err error) {
	q := fsm.AuditQuery{Oldest: true, Bytes: true, Limit: batch}
	if at.sent > 0 {
		q.Cursor = strconv.FormatUint(at.sent, 10)
	}
	p := k.cfg.State.AuditPage(q)
	if len(p.Items) == 0 {
		k.metrics.lag.WithLabelValues(name).Set(0)
		k.metrics.late.WithLabelValues(name).Set(0)
		return false, k.settle(ctx, name, to, at)
	}
	lines := make([]audit.Line, len(p.Items))
	for i := range lines {
		lines[i] = audit.Line{AuditEntry: p.Items[i], Entry: p.Entries[i]}
	}
	if last := k.cfg.State.AuditExtent().Last; last >= lines[0].Number {
		k.metrics.lag.WithLabelValues(name).Set(float64(last - lines[0].Number + 1))
		k.metrics.late.WithLabelValues(name).Set(k.age(lines[0].At).Seconds())
	}
	turn, cancel := context.WithTimeout(ctx, deliverLimit)
	defer cancel()
	n, err := to.deliver(turn, lines)
	n = max(0, min(n, len(lines)))
	if n < len(lines) && err == nil {
		err = fmt.Errorf("sink took %d of %d entries", n, len(lines))
	}
	if n == 0 {
		return false, err
	}
	k.metrics.delivered.WithLabelValues(name).Add(float64(n))
	before := at.sent
	at.sent = lines[n-1].Number
	if to.receipts() {
		before = at.sent
	}
	return true, errors.Join(err, k.mark(ctx, name, at, before))
}

// settle marks what was sent, once it is safe, where a sink that has everything gives no receipts.
func (k *Keeper) settle(ctx context.Context, name string, to sink, at *place) error {
	if at.sent == at.marked {
		return nil
	}
	safe, err := to.settled(ctx)
	if err != nil || !safe {
		return err
	}
	return k.mark(ctx, name, at, at.sent)
}

// mark notes that a sink has everything up to a number.
func (k *Keeper) mark(ctx context.Context, name string, at *place, number uint64) error {
	if number <= at.marked {
		return nil
	}
	if err := k.cfg.Propose(ctx, fsm.MarkAudit{Sink: name, Number: number}); err != nil {
		return err
	}
	at.marked = number
	return nil
}

// Prune deletes the entries that are older than the retention, a bounded number at once.
// What a sink has not got yet stays for twice the retention; what goes then is counted and told (Behind). Entries may stay a tenth of the
// retention longer, and no more than a day, so that the log does not tell of little else
// than of its pruning.
func (k *Keeper) Prune(ctx context.Context, now time.Time) error {
	settings := k.cfg.State.Catalog().Settings().Audit
	keep := settings.Retention
	if keep <= 0 {
		return nil
	}
	slack := min(maxSlack, keep/10)
	if k.before(now.Add(-keep-slack)) == 0 && k.extent(k.before(now.Add(-keep))) < audit.MaxPrune {
		return nil
	}
	to := k.before(now.Add(-keep))
	marks := k.cfg.State.AuditExtent().Sinks
	for _, s := range settings.Sinks {
		to = min(to, marks[s.Name])
	}
	to = max(to, k.before(now.Add(-2*keep)))
	for {
		x := k.cfg.State.AuditExtent()
		if x.First == 0 || to < x.First {
			return nil
		}
		last := min(to, x.First+audit.MaxPrune-1, x.Last-1)
		if last < x.First {
			return nil // the newest one stays
		}
		if err := k.pruneTo(ctx, last, now); err != nil {
			return err
		}
		k.metrics.pruned.Add(float64(last - x.First + 1))
		k.forget(settings.Sinks, k.cfg.State.AuditExtent().Sinks, x.First, last)
	}
}

// before is the number of the newest entry that is older than the time, 0 for none.
func (k *Keeper) before(t time.Time) uint64 {
	p := k.cfg.State.AuditPage(fsm.AuditQuery{To: resource.At(t), Limit: 1})
	if len(p.Items) == 0 {
		return 0
	}
	return p.Items[0].Number
}

// extent is how many entries there are up to a number.
func (k *Keeper) extent(to uint64) uint64 {
	if first := k.cfg.State.AuditExtent().First; first > 0 && to >= first {
		return to - first + 1
	}
	return 0
}

func (k *Keeper) pruneTo(ctx context.Context, number uint64, now time.Time) error {
	p := k.cfg.State.AuditPage(fsm.AuditQuery{Oldest: true, Limit: 1, Cursor: strconv.FormatUint(number-1, 10)})
	if number == 1 {
		p = k.cfg.State.AuditPage(fsm.AuditQuery{Oldest: true, Limit: 1})
	}
	if len(p.Items) == 0 || p.Items[0].Number != number {
		return fmt.Errorf("audit entry %d is gone", number)
	}
	info, _ := k.cfg.State.Cluster()
	e := p.Items[0]
	a := resource.AuditAnchor{
		Cluster: info.ClusterID, Number: e.Number, Index: e.Index, At: e.At, Hash: e.Hash, SignedAt: resource.At(now),
	}
	if err := k.cfg.Sign(&a); err != nil {
		return fmt.Errorf("sign audit anchor: %w", err)
	}
	return k.cfg.Propose(ctx, fsm.PruneAudit{Anchor: a})
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
