package callback

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Source is the journal that a queue reads.
type Source interface {
	// Read returns the finished requests that the subscription wants among at most limit ones whose
	// positions are at least from, in order, and the position to read from next, which grows
	// even if no record was found. It returns a *Truncated if records from there on are gone.
	Read(s *Subscription, from uint64, limit int) (records []Record, next uint64, err error)
}

// Truncated is returned by a Source for a position before the oldest that it keeps.
type Truncated struct {
	Oldest  uint64 // position to go on from
	Records int64  // that are gone; 0: unknown, counted as one
}

// Error implements error.
func (t *Truncated) Error() string {
	return fmt.Sprintf("journal begins at %d, %d records are gone", t.Oldest, t.Records)
}

// Metrics count what queues do, by callback.
type Metrics struct {
	Delivered *prometheus.CounterVec
	Dropped   *prometheus.CounterVec // gone from the journal before the sink took them
	Refused   *prometheus.CounterVec // put aside, because the sink will never take them
	Failures  *prometheus.CounterVec // deliveries that ended with an error
	Lag       *prometheus.GaugeVec   // seconds since the oldest undelivered request began; 0: none waits
}

// NewMetrics makes the metrics and registers them; a nil registerer registers nothing.
func NewMetrics(r prometheus.Registerer) *Metrics {
	label := []string{"callback"}
	m := &Metrics{
		Delivered: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_callback_delivered_total", Help: "Records that a sink has taken.",
		}, label),
		Dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_callback_dropped_total", Help: "Records that left the journal before the sink took them.",
		}, label),
		Refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_callback_refused_total", Help: "Records that a sink refused for good, put aside as dead letters.",
		}, label),
		Failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_callback_failures_total", Help: "Deliveries to a sink that ended with an error.",
		}, label),
		Lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "conclave_callback_lag_seconds", Help: "Age of the oldest record that a sink has not taken.",
		}, label),
	}
	if r != nil {
		r.MustRegister(m.Delivered, m.Dropped, m.Refused, m.Failures, m.Lag)
	}
	return m
}

// forget drops what was counted of a callback that is no more.
func (m *Metrics) forget(name string) {
	for _, c := range []*prometheus.CounterVec{m.Delivered, m.Dropped, m.Refused, m.Failures} {
		c.DeleteLabelValues(name)
	}
	m.Lag.DeleteLabelValues(name)
}

// QueueConfig configures a Queue.
type QueueConfig struct {
	Name     string // of the callback
	MarkPath string // file of the high-water mark; its folder exists
	Start    uint64 // where a sink without a mark begins
	Source   Source
	// Subscription says what the sink is told; the zero value is everything.
	Subscription Subscription
	Redelivery   *Redelivery  // nil: none is ordered
	Logger       *slog.Logger // nil: logs nothing
	Metrics      *Metrics     // nil: counts nothing visible

	Batch      int           // records in a batch; 0: 500
	Poll       time.Duration // between looks at an empty journal; 0: 200 ms
	Deadline   time.Duration // of one delivery; 0: 30 s
	MaxDead    int           // dead letters that are kept; 0: 10,000
	BackoffMin time.Duration // after a failure; 0: 100 ms
	BackoffMax time.Duration // 0: 30 s
}

// Queue brings the records of a Source to one sink, in order and at least once. It holds one
// batch in memory, however far the sink is behind.
type Queue struct {
	cfg  QueueConfig
	mark atomic.Uint64 // position that is read next; all before it are in the sink
	deaf atomic.Int32  // deliveries in a row that passed their deadline without an answer
	last atomic.Value  // string: why the last delivery failed; "": it did not
	wake chan struct{} // a plugin has come, or a record

	mu         sync.Mutex // guards what follows
	plugin     Plugin     // nil: not running
	batch      int
	sub        Subscription
	redelivery *Redelivery // that is to be done
	again      []uint64    // positions of dead letters that are to be tried again
	dead       *deadLetters

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// NewQueue reads the mark, or writes the first one, and starts the queue. A damaged mark counts as 0.
func NewQueue(cfg QueueConfig) (*Queue, error) {
	cfg.Batch = cmp.Or(cfg.Batch, 500)
	cfg.Poll = cmp.Or(cfg.Poll, 200*time.Millisecond)
	cfg.Deadline = cmp.Or(cfg.Deadline, 30*time.Second)
	cfg.BackoffMin = cmp.Or(cfg.BackoffMin, 100*time.Millisecond)
	cfg.BackoffMax = cmp.Or(cfg.BackoffMax, 30*time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	at, err := readMark(cfg.MarkPath)
	switch {
	case errors.Is(err, errNoMark):
		at = cfg.Start
		if err := writeMark(cfg.MarkPath, at); err != nil { // another start would begin where the journal is by then
			return nil, fmt.Errorf("write mark of callback %s: %w", cfg.Name, err)
		}
	case errors.Is(err, errBadMark):
		cfg.Logger.Warn("high-water mark is damaged, delivering from the journal's start", "callback", cfg.Name)
		at = 0
	case err != nil:
		return nil, fmt.Errorf("read mark of callback %s: %w", cfg.Name, err)
	}
	dead, err := openDeadLetters(cfg.MarkPath+deadSuffix, cfg.MaxDead)
	if err != nil {
		return nil, fmt.Errorf("read dead letters of callback %s: %w", cfg.Name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	q := &Queue{cfg: cfg, sub: cfg.Subscription, redelivery: cfg.Redelivery, dead: dead, wake: make(chan struct{}, 1), cancel: cancel}
	q.mark.Store(at)
	q.wg.Go(func() { q.run(ctx) })
	return q, nil
}

// Set puts a running plugin behind the queue, or nil when it has stopped.
func (q *Queue) Set(p Plugin, d Description) {
	q.deaf.Store(0)
	q.mu.Lock()
	q.plugin, q.batch = p, q.cfg.Batch
	if d.MaxBatch > 0 {
		q.batch = min(q.batch, d.MaxBatch)
	}
	q.mu.Unlock()
	q.Wake()
}

// Wake looks for new records at once.
func (q *Queue) Wake() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Mark is the position below which everything is in the sink.
func (q *Queue) Mark() uint64 { return q.mark.Load() }

// Unanswered is how many deliveries in a row the plugin has let pass their deadline without an answer. One whose
// sink is slow or down answers before.
func (q *Queue) Unanswered() int { return int(q.deaf.Load()) }

// Close stops the queue and waits for it; a batch under way is cut and comes again.
func (q *Queue) Close() {
	q.cancel()
	q.wg.Wait()
}

// Forget removes the files of a closed queue, and what was counted of it.
func (q *Queue) Forget() {
	q.cfg.Metrics.forget(q.cfg.Name)
	for _, suffix := range []string{"", deadSuffix, redeliverySuffix} {
		_ = os.Remove(q.cfg.MarkPath + suffix)
	}
}

func (q *Queue) run(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		before := q.mark.Load()
		more, err := q.step(ctx)
		if q.mark.Load() > before { // a sink that takes some is not down
			failures = 0
		}
		q.note(err)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrNotRunning):
			q.sleep(ctx, time.Second, true)
		case err != nil:
			q.cfg.Metrics.Failures.WithLabelValues(q.cfg.Name).Inc()
			q.cfg.Logger.Warn("delivery to callback failed", "callback", q.cfg.Name, "failures", failures+1, "error", err)
			q.sleep(ctx, q.backoff(failures), false)
			failures++
		default:
			failures = 0
			if !more {
				q.sleep(ctx, q.cfg.Poll, true)
			}
		}
	}
}

// note keeps why a delivery failed, until one succeeds or there is nothing to deliver.
func (q *Queue) note(err error) {
	why := ""
	if err != nil && !errors.Is(err, ErrNotRunning) {
		why = err.Error()
	}
	q.last.Store(why)
}

// Failing says why the last delivery failed, after which the next one waits; empty: it did not.
func (q *Queue) Failing() string {
	why, _ := q.last.Load().(string)
	return why
}

// step delivers one batch. It says whether there may be more.
func (q *Queue) step(ctx context.Context) (more bool, err error) {
	if err := q.rewind(); err != nil {
		return false, err
	}
	q.mu.Lock()
	plugin, limit, sub := q.plugin, q.batch, q.sub
	q.mu.Unlock()
	if plugin == nil {
		limit = 1 // to know the lag
	}
	if err := q.tryAgain(ctx, plugin, &sub); err != nil {
		return false, err
	}
	records, next, err := q.cfg.Source.Read(&sub, q.mark.Load(), limit)
	if gone := (*Truncated)(nil); errors.As(err, &gone) {
		return true, q.skip(gone)
	}
	if err != nil {
		return false, fmt.Errorf("read journal: %w", err)
	}
	q.lag(records)
	if plugin == nil {
		return false, ErrNotRunning
	}
	if len(records) == 0 {
		more := next > q.mark.Load()
		return more, q.advance(next, next-q.mark.Load() > 1<<20)
	}
	n, err := q.deliver(ctx, plugin, records, next)
	q.lag(records[n:])
	return err == nil, err
}

// deliver brings records, the last ones before next, and says how many are done with. A sink that takes
// some of them without an error is slow, not broken: the rest comes at once.
func (q *Queue) deliver(ctx context.Context, plugin Plugin, records []Record, next uint64) (int, error) {
	turn, cancel := context.WithTimeout(ctx, q.cfg.Deadline)
	defer cancel()
	n, err := plugin.Deliver(turn, records)
	if n == 0 && err != nil && errors.Is(turn.Err(), context.DeadlineExceeded) {
		q.deaf.Add(1)
	} else {
		q.deaf.Store(0)
	}
	n = max(0, min(n, len(records)))
	q.cfg.Metrics.Delivered.WithLabelValues(q.cfg.Name).Add(float64(n))
	if refused, ok := errors.AsType[*Refused](err); ok && n < len(records) {
		if err := q.putAside(&records[n], refused); err != nil {
			return n, err
		}
		n, err = n+1, nil
		if n < len(records) {
			return n, q.advance(records[n-1].Position+1, true) // the rest comes at once
		}
	}
	if n == 0 {
		return 0, cmp.Or(err, errNotTaken)
	}
	to := next
	if n < len(records) {
		to = records[n-1].Position + 1
	}
	return n, errors.Join(err, q.advance(to, true))
}

// skip goes past records that the journal no longer has.
func (q *Queue) skip(gone *Truncated) error {
	if gone.Oldest <= q.mark.Load() {
		return fmt.Errorf("read journal: %w", gone)
	}
	q.cfg.Metrics.Dropped.WithLabelValues(q.cfg.Name).Add(float64(max(1, gone.Records)))
	q.cfg.Logger.Error("callback has lost records", "callback", q.cfg.Name, "records", gone.Records)
	return q.advance(gone.Oldest, true)
}

// advance moves the mark, on disk if it is worth a write: a mark that is behind only means that
// records come again.
func (q *Queue) advance(to uint64, write bool) error {
	if to <= q.mark.Load() {
		return nil
	}
	if write {
		if err := writeMark(q.cfg.MarkPath, to); err != nil {
			return fmt.Errorf("write mark: %w", err)
		}
	}
	q.mark.Store(to)
	return nil
}

func (q *Queue) lag(waiting []Record) {
	seconds := 0.0
	if len(waiting) > 0 {
		seconds = max(0, time.Since(waiting[0].StartedAt).Seconds())
	}
	q.cfg.Metrics.Lag.WithLabelValues(q.cfg.Name).Set(seconds)
}

// backoff doubles from the minimum to the maximum and is jittered by a quarter.
func (q *Queue) backoff(failures int) time.Duration {
	d := q.cfg.BackoffMax
	if failures < 20 {
		d = min(d, q.cfg.BackoffMin<<failures)
	}
	return d - rand.N(d/4+1) //nolint:gosec // jitter
}

func (q *Queue) sleep(ctx context.Context, d time.Duration, wakeable bool) {
	t := time.NewTimer(d)
	defer t.Stop()
	wake := q.wake
	if !wakeable {
		wake = nil
	}
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
	}
}
