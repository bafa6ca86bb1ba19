package secretsource

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

const (
	readTimeout = 5 * time.Second    // of one read
	firstRetry  = time.Second        // after a read that failed, then doubled
	lastRetry   = time.Minute        // at most
	forgetAfter = 7 * 24 * time.Hour // a value that nobody asked for
	maxHeld     = 10_000             // references
	sweepEvery  = time.Second        // how often what is due is looked for
)

// Reader reads from a source's process. *Client is one.
type Reader interface {
	Read(ctx context.Context, at Address) (Value, error)
}

// CacheConfig configures a Cache.
type CacheConfig struct {
	// Source returns the record of the secret source with the name; false: there is none. Needed.
	Source func(name string) (*resource.SecretSource, bool)
	// Changed is called when a reference has got a value, another one, or none any more: what was
	// made of the old one is to be made anew. It must not block. Nil: nobody wants to know.
	Changed func()
	Now     func() time.Time // nil: clock.Now
	Logger  *slog.Logger     // nil: logs nothing
	// Registerer is where metrics are registered; nil: nowhere.
	Registerer prometheus.Registerer
}

// Cache holds the values of the references that this node resolves. A value is read again after the
// source's refresh time, and used for the source's stale time if it cannot be. It may be used
// concurrently.
type Cache struct {
	cfg     CacheConfig
	metrics cacheMetrics

	mu      sync.Mutex // guards what follows
	readers map[string]Reader
	arrival chan struct{} // closed when the next reader is set
	held    map[resource.SecretRef]*held
	reading sync.WaitGroup
	closed  bool
}

type cacheMetrics struct {
	reads  *prometheus.CounterVec
	writes *prometheus.CounterVec
	held   prometheus.Gauge
}

// held is what is known of one reference.
type held struct {
	source  string // id of the record that the value is of: another one of the same name has other values
	value   Value  // zero: there is none
	read    time.Time
	used    time.Time
	err     error // of the last read, nil if it succeeded
	tried   time.Time
	fails   int
	at      Reader        // that was asked the last time
	pending chan struct{} // closed when the read under way ends; nil: none is
}

// NewCache makes an empty cache. Run keeps it fresh.
func NewCache(cfg CacheConfig) *Cache {
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	if cfg.Changed == nil {
		cfg.Changed = func() {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Cache{cfg: cfg, readers: map[string]Reader{}, arrival: make(chan struct{}), held: map[resource.SecretRef]*held{}, metrics: cacheMetrics{
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_secret_source_reads_total", Help: "Reads of secrets out of a secret source, by what came of them.",
		}, []string{"source", "result"}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conclave_secret_source_writes_total", Help: "Secrets written to a secret source or deleted there, by what came of them.",
		}, []string{"source", "result"}),
		held: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "conclave_secret_source_references", Help: "References to secret sources that this node resolves.",
		}),
	}}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(c.metrics.reads, c.metrics.writes, c.metrics.held)
	}
	return c
}

// SetReader says which process serves the source with the name now.
func (c *Cache) SetReader(name string, r Reader) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readers[name] = r
	close(c.arrival)
	c.arrival = make(chan struct{})
	for ref, h := range c.held {
		if ref.Source == name { // a new process may have another configuration
			c.readLocked(ref, h)
		}
	}
}

// DropReader says that a process does not serve the source with the name any more. If another one
// does meanwhile, that stays.
func (c *Cache) DropReader(name string, r Reader) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.readers[name] == r {
		delete(c.readers, name)
	}
}

// Await waits until a process serves the source with the name, as long as ctx lasts, and says whether one does.
func (c *Cache) Await(ctx context.Context, name string) bool {
	for {
		c.mu.Lock()
		serves, arrival := c.readers[name] != nil, c.arrival
		c.mu.Unlock()
		if serves {
			return true
		}
		select {
		case <-arrival:
		case <-ctx.Done():
			return false
		}
	}
}

// Resolve returns the value of a reference. Where there is none it is read, and waited for as long
// as ctx lasts. Its error is a *secret.Unresolved.
func (c *Cache) Resolve(ctx context.Context, text string) (secret.Text, error) {
	for {
		v, pending, err := c.look(text)
		if pending == nil || err == nil {
			return v.Text, err
		}
		select {
		case <-pending:
		case <-ctx.Done():
			return secret.Text{}, err
		}
	}
}

// Held returns the value of a reference without waiting. Where there is none it is being read when
// Held returns, and Changed is called when there is one.
func (c *Cache) Held(text string) (secret.Text, error) {
	v, _, err := c.look(text)
	return v.Text, err
}

// look returns what is held of a reference. pending is closed when a read ends for which it is
// worth to wait.
func (c *Cache) look(text string) (v Value, pending <-chan struct{}, err error) {
	ref, err := resource.ParseSecretRef(text)
	if err != nil {
		return Value{}, nil, &secret.Unresolved{Reference: text, Reason: string(Malformed), Err: err}
	}
	s, ok := c.cfg.Source(ref.Source)
	if !ok {
		return Value{}, nil, &secret.Unresolved{Reference: text, Reason: "no_source", Err: fmt.Errorf("there is no secret source %q", ref.Source)}
	}
	if !s.Reads() {
		return Value{}, nil, unresolved(text, &Error{Denied, "the access_mode " + string(s.AccessMode) + " of the secret source does not let it be read"})
	}
	now := c.cfg.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.held[ref]
	if h == nil || h.source != s.ID {
		if h == nil && len(c.held) >= maxHeld {
			return Value{}, nil, &secret.Unresolved{Reference: text, Reason: string(Unavailable), Err: fmt.Errorf("more than %d references to secret sources are in use", maxHeld)}
		}
		h = &held{source: s.ID}
		c.held[ref] = h
		c.metrics.held.Set(float64(len(c.held)))
	}
	h.used = now
	if h.due(s, now) {
		c.readLocked(ref, h)
	}
	if h.usable(s, now) {
		return h.value, nil, nil
	}
	err = h.err
	if err == nil {
		err = &Error{Unavailable, "it has not been read yet"}
	}
	if h.pending == nil && c.readers[ref.Source] == nil {
		return Value{}, c.arrival, unresolved(text, err) // it may be starting
	}
	return Value{}, h.pending, unresolved(text, err)
}

func unresolved(text string, err error) error {
	u := &secret.Unresolved{Reference: text, Reason: string(Unavailable), Err: err}
	if e, ok := errors.AsType[*Error](err); ok {
		u.Reason = string(e.Reason)
	}
	return u
}

// usable says whether the value may be used.
func (h *held) usable(s *resource.SecretSource, now time.Time) bool {
	return !h.value.Text.IsZero() && now.Sub(h.read) <= time.Duration(s.MaxStaleSeconds)*time.Second
}

// due says whether the reference is to be read now.
func (h *held) due(s *resource.SecretSource, now time.Time) bool {
	switch {
	case h.pending != nil:
		return false
	case h.tried.IsZero():
		return true
	case h.err != nil:
		return now.Sub(h.tried) >= min(lastRetry, firstRetry<<min(max(h.fails-1, 0), 6))
	}
	return now.Sub(h.read) >= time.Duration(s.RefreshSeconds)*time.Second
}

// readLocked starts to read a reference; the goroutine ends within readTimeout. Without a process
// that serves the source the read has failed at once.
func (c *Cache) readLocked(ref resource.SecretRef, h *held) {
	if c.closed || h.pending != nil {
		return
	}
	r := c.readers[ref.Source]
	if r == nil {
		h.tried, h.err = c.cfg.Now(), &Error{Unavailable, "the secret source is not running"}
		return
	}
	done := make(chan struct{})
	h.pending, h.at = done, r
	c.reading.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
		defer cancel()
		v, err := r.Read(ctx, Address{Path: ref.Path, Field: ref.Field})
		if c.note(ref, h, v, err) {
			c.cfg.Changed()
		}
		close(done)
	})
}

// note keeps what a read brought, and says whether the value is another one than before.
func (c *Cache) note(ref resource.SecretRef, h *held, v Value, err error) (changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	h.pending, h.tried = nil, now
	again := c.readers[ref.Source] != h.at // another process took over meanwhile
	if err != nil {
		if h.fails == 0 {
			c.cfg.Logger.Warn("a secret cannot be read", "source", ref.Source, "error", err)
		}
		h.fails++
		h.err = err
		c.metrics.reads.WithLabelValues(ref.Source, result(err)).Inc()
	} else {
		changed = !v.Text.Equal(h.value.Text)
		if changed && !h.value.Text.IsZero() {
			c.cfg.Logger.Info("a secret has another value in its source", "source", ref.Source, "fingerprint", v.Text.Fingerprint())
		}
		h.value, h.read, h.err, h.fails = v, now, nil, 0
		c.metrics.reads.WithLabelValues(ref.Source, "ok").Inc()
	}
	if again && c.held[ref] == h {
		c.readLocked(ref, h)
	}
	return changed
}

func result(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return string(e.Reason)
	}
	return string(Unavailable)
}

// Run reads again what is due until ctx ends, and waits for the reads that are under way.
func (c *Cache) Run(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if c.sweep() {
				c.cfg.Changed()
			}
		case <-ctx.Done():
			c.mu.Lock()
			c.closed = true
			c.mu.Unlock()
			c.reading.Wait()
			return
		}
	}
}

// sweep starts the reads that are due and forgets what nobody uses. It returns true if a value has
// become too old to be used.
func (c *Cache) sweep() (lost bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	for ref, h := range c.held {
		s, ok := c.cfg.Source(ref.Source)
		switch {
		case !ok || s.ID != h.source || now.Sub(h.used) > forgetAfter:
			lost = lost || !h.value.Text.IsZero() // who kept it asks again
			delete(c.held, ref)
			continue
		case !h.value.Text.IsZero() && !h.usable(s, now):
			c.cfg.Logger.Error("a secret is too old to be used", "source", ref.Source, "error", h.err)
			h.value, lost = Value{}, true
		}
		if h.due(s, now) {
			c.readLocked(ref, h)
		}
	}
	c.metrics.held.Set(float64(len(c.held)))
	return lost
}

// State is what is known of a reference.
type State struct {
	Fingerprint string    // of the value in use; "": there is none
	Version     string    // of the secret in the store
	Read        time.Time // when the value was read
	Err         error     // why it could not be read the last time
}

// Test reads a reference now, whatever is held of it, and tells what came of it.
func (c *Cache) Test(ctx context.Context, text string) State {
	_, err := c.Resolve(ctx, text) // waits for a source that is starting
	ref, bad := resource.ParseSecretRef(text)
	c.mu.Lock()
	h := c.held[ref]
	if bad != nil || h == nil {
		c.mu.Unlock()
		return State{Err: err}
	}
	c.readLocked(ref, h)
	pending := h.pending
	c.mu.Unlock()
	if pending != nil {
		select {
		case <-pending:
		case <-ctx.Done():
			return State{Err: unresolved(text, &Error{Unavailable, "it was not read in time"})}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := State{Fingerprint: h.value.Text.Fingerprint(), Version: h.value.Version, Read: h.read}
	if h.err != nil {
		s.Err = unresolved(text, h.err)
	}
	return s
}
