// Package courier brings the cluster's alerts to their channels, on the node that leads, and
// watches the states that are worth one. What was raised and what was delivered is replicated, so
// that the next leader goes on where this one ends: each alert reaches each of its channels at
// least once, under one id, and is given up after a deadline as a dead letter that can be sent again.
package courier

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/alert"
	"github.com/conclave-llm/conclave/resource/channel"
)

const (
	lookEvery   = time.Second
	tidyEvery   = 10 * time.Minute
	firstRetry  = 2 * time.Second // after a delivery that failed; each further one waits twice as long
	lastRetry   = 10 * time.Minute
	window      = 4096 // pending alerts that are looked at
	inARow      = 3    // failures at a channel, after which the rest of its alerts waits
	maxError    = 500
	metricOther = "address" // label of e-mail addresses that no channel names
)

// State reads alerts and where they go. *fsm.FSM implements it.
type State interface {
	PendingAlerts(limit int) []*alert.Alert
	Alert(id string) (*alert.Alert, bool)
	Alerts(q fsm.AlertQuery) []*alert.Alert
	Catalog() *resource.Catalog
}

// Config says what a Courier works on. State, Leads, Propose and Send are required.
type Config struct {
	State State
	// Leads says whether this node leads the cluster.
	Leads func() bool
	// Propose commits a command of this node.
	Propose func(ctx context.Context, cmd fsm.Command) error
	// Send brings an alert to a channel, or to addresses through one of the type email.
	Send func(ctx context.Context, c *channel.Channel, to []string, a *alert.Alert) error
	// Name is what people call the record of a kind; "": they do not. Nil: nobody knows.
	Name func(kind, id string) string
	// Wake says that there may be something to do; it may be nil.
	Wake       <-chan struct{}
	Now        func() time.Time      // default: clock.Now
	Logger     *slog.Logger          // default: discards
	Registerer prometheus.Registerer // nil: metrics go nowhere
}

// Courier delivers alerts. It may be used concurrently.
type Courier struct {
	cfg     Config
	metrics *metrics
	wg      sync.WaitGroup

	mu    sync.Mutex // guards what follows
	busy  map[string]bool
	waits map[job]wait
	told  map[string]bool // ids of alerts that the log has
	tidy  time.Time
}

// job is one alert for one channel.
type job struct{ alert, channel string }

// wait is a delivery that failed.
type wait struct {
	tries int64
	until time.Time
	text  string // of the error as it was noted
}

type metrics struct {
	deliveries *prometheus.CounterVec
	pending    prometheus.Gauge
}

// New returns a Courier. Nothing is started; see Run.
func New(cfg Config) *Courier {
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	m := &metrics{
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_alert_deliveries_total", Help: "Tries of this node to deliver alerts, by channel and what came of them: delivered, failed or dead.",
		}, []string{"channel", "result"}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "conclave_alerts_pending", Help: "Alerts that are not delivered to all of their channels. Of the leader.",
		}),
	}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(m.deliveries, m.pending)
	}
	return &Courier{cfg: cfg, metrics: m, busy: map[string]bool{}, waits: map[job]wait{}, told: map[string]bool{}}
}

// Run delivers, as long as this node leads, until ctx ends.
func (c *Courier) Run(ctx context.Context) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	defer c.wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.cfg.Wake:
		case <-t.C:
		}
		if !c.cfg.Leads() {
			c.rest()
			continue
		}
		c.begin(ctx)
		c.forget(ctx)
	}
}

// Pass does once what is due now, and returns when it is done or has failed.
func (c *Courier) Pass(ctx context.Context) {
	c.begin(ctx)
	c.wg.Wait()
	c.forget(ctx)
}

// rest forgets what only the leader knows.
func (c *Courier) rest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.waits)
	clear(c.told)
	c.metrics.pending.Set(0)
}

// begin starts to deliver what is due, one goroutine for each channel that is not at work.
func (c *Courier) begin(ctx context.Context) {
	pending := c.cfg.State.PendingAlerts(window)
	c.metrics.pending.Set(float64(len(pending)))
	settings := &c.cfg.State.Catalog().Settings().Alerts
	work := map[string][]*alert.Alert{}
	var done []fsm.AlertNote
	for _, a := range pending {
		c.tell(a)
		left := c.left(settings, a, "")
		if len(left) == 0 {
			done = append(done, fsm.AlertNote{ID: a.ID, Done: true})
		}
		for _, name := range left {
			work[name] = append(work[name], a)
		}
	}
	c.mu.Lock()
	for name, all := range work {
		if !c.busy[name] {
			c.busy[name] = true
			c.wg.Go(func() { c.serve(ctx, settings, name, all) })
		}
	}
	c.mu.Unlock()
	for part := range slices.Chunk(done, fsm.MaxAlerts) {
		c.note(ctx, part...)
	}
}

// tell writes the alert into the log of the node, once for a leader.
func (c *Courier) tell(a *alert.Alert) {
	c.mu.Lock()
	known := c.told[a.ID]
	if len(c.told) > 4*window {
		clear(c.told)
	}
	c.told[a.ID] = true
	c.mu.Unlock()
	if !known {
		c.cfg.Logger.Warn("alert", "alert_id", a.ID, "kind", a.Kind, "subject", a.Subject, "text", c.named(a).Sentence())
	}
}

// named is the alert with the name of its subject.
func (c *Courier) named(a *alert.Alert) *alert.Alert {
	if a.Name != "" || c.cfg.Name == nil {
		return a
	}
	out := *a
	out.Name = c.cfg.Name(a.Holder())
	return &out
}

// left lists the channels that an alert still has to go to, but for one that has just been dealt with.
func (c *Courier) left(s *channel.Settings, a *alert.Alert, but string) []string {
	var all []string
	for _, name := range s.For(a.Kind, a.Channels, a.Emails) {
		if d := a.On(name); name != but && (d == nil || d.State == alert.Pending) {
			all = append(all, name)
		}
	}
	for _, d := range a.Deliveries { // sent again, or begun, under settings that have changed since
		if d.State == alert.Pending && d.Channel != but && !slices.Contains(all, d.Channel) {
			all = append(all, d.Channel)
		}
	}
	return all
}

// serve brings alerts to one channel.
func (c *Courier) serve(ctx context.Context, s *channel.Settings, name string, all []*alert.Alert) {
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.busy, name)
	}()
	failed := 0
	for _, a := range all {
		if ctx.Err() != nil || !c.cfg.Leads() || failed >= inARow {
			return
		}
		now, ok := c.cfg.State.Alert(a.ID)
		if !ok || now.On(name) != nil && now.On(name).State != alert.Pending || c.held(job{a.ID, name}) {
			continue
		}
		if c.deliver(ctx, s, name, now) {
			failed = 0
		} else {
			failed++
		}
	}
}

func (c *Courier) held(j job) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cfg.Now().Before(c.waits[j].until)
}

// way finds the channel of a name or address. An empty text of why says that there is one.
func way(s *channel.Settings, name string) (ch *channel.Channel, to []string, why string) {
	if strings.Contains(name, "@") {
		if ch = s.Mail(); ch == nil {
			return nil, nil, "the setting alerts has no channel of the type email"
		}
		return ch, []string{name}, ""
	}
	if ch = s.Named(name); ch == nil {
		return nil, nil, "the setting alerts has no channel of this name"
	}
	return ch, nil, ""
}

// deliver tries once, and notes what came of it.
func (c *Courier) deliver(ctx context.Context, s *channel.Settings, name string, a *alert.Alert) bool {
	label := name
	if strings.Contains(name, "@") {
		label = metricOther
	}
	j := job{a.ID, name}
	d := alert.Delivery{Channel: name, State: alert.Delivered, Tries: c.tries(j) + 1}
	ch, to, why := way(s, name)
	var err error
	if why == "" {
		err = c.cfg.Send(ctx, ch, to, c.named(a))
	}
	switch {
	case ctx.Err() != nil:
		return false // the next leader does it
	case why != "":
		d.State, d.Error, d.Tries = alert.Dead, why, 0
	case err != nil:
		d.State, d.Error = alert.Pending, cut(err.Error())
		if c.cfg.Now().Sub(max(a.At, a.RetryAt).Std()) >= s.Deadline {
			d.State = alert.Dead
		}
	}
	return c.record(ctx, s, a, j, label, d)
}

func cut(text string) string {
	if len(text) > maxError {
		text = strings.ToValidUTF8(text[:maxError], "")
	}
	return text
}

func (c *Courier) tries(j job) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waits[j].tries
}

// record notes a delivery: what ends it at once, what failed where it failed otherwise before.
func (c *Courier) record(ctx context.Context, s *channel.Settings, a *alert.Alert, j job, label string, d alert.Delivery) bool {
	result := map[alert.State]string{alert.Delivered: "delivered", alert.Pending: "failed", alert.Dead: "dead"}[d.State]
	c.metrics.deliveries.WithLabelValues(label, result).Inc()
	if d.State == alert.Pending {
		until, news := c.hold(j, d)
		c.cfg.Logger.Warn("alert is not delivered", "alert_id", a.ID, "channel", j.channel, "tries", d.Tries,
			"retry_at", until.UTC().Format(time.RFC3339), "error", d.Error)
		if news {
			c.note(ctx, fsm.AlertNote{ID: a.ID, Deliveries: []alert.Delivery{d}})
		}
		return false
	}
	if d.State == alert.Dead {
		c.cfg.Logger.Error("alert is given up on a channel", "alert_id", a.ID, "channel", j.channel, "tries", d.Tries, "error", d.Error)
	}
	if now, ok := c.cfg.State.Alert(a.ID); ok {
		a = now
	}
	if c.note(ctx, fsm.AlertNote{ID: a.ID, Deliveries: []alert.Delivery{d}, Done: len(c.left(s, a, j.channel)) == 0}) {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waits, j)
	}
	return d.State == alert.Delivered
}

// hold notes the time of the next try, and whether the error is another than the one before.
func (c *Courier) hold(j job, d alert.Delivery) (until time.Time, news bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.waits[j]
	news = w.text != d.Error
	w = wait{tries: d.Tries, text: d.Error, until: c.cfg.Now().Add(min(firstRetry<<min(d.Tries-1, 12), lastRetry))}
	c.waits[j] = w
	return w.until, news
}

func (c *Courier) note(ctx context.Context, notes ...fsm.AlertNote) bool {
	err := c.cfg.Propose(ctx, fsm.NoteAlerts{Notes: notes})
	if err != nil && ctx.Err() == nil {
		c.cfg.Logger.Warn("what became of alerts is not noted; they may be sent again", "error", err)
	}
	return err == nil
}

// forget deletes what is older than the settings keep, and waits of what is gone.
func (c *Courier) forget(ctx context.Context) {
	now := c.cfg.Now()
	c.mu.Lock()
	due := now.Sub(c.tidy) >= tidyEvery
	if due {
		c.tidy = now
		for j := range c.waits {
			if a, ok := c.cfg.State.Alert(j.alert); !ok || a.Done {
				delete(c.waits, j)
			}
		}
	}
	c.mu.Unlock()
	if !due {
		return
	}
	before := resource.At(now.Add(-c.cfg.State.Catalog().Settings().Alerts.Keep))
	old := c.cfg.State.Alerts(fsm.AlertQuery{Limit: window, Match: func(a *alert.Alert) bool {
		return max(a.At, a.RetryAt) < before && a.Done && (!a.Lasting || a.EndedAt != 0)
	}})
	for part := range slices.Chunk(old, fsm.MaxAlerts) {
		ids := make([]string, len(part))
		for i, a := range part {
			ids[i] = a.ID
		}
		if err := c.cfg.Propose(ctx, fsm.DeleteAlerts{IDs: ids}); err != nil {
			return // the next time
		}
	}
}
