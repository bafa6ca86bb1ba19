package plugins

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-llm/conclave/internal/launch"
	"github.com/conclave-llm/conclave/plugins/auth"
	"github.com/conclave-llm/conclave/plugins/callback"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/modelserver"
	"github.com/conclave-llm/conclave/plugins/routerfilter"
	"github.com/conclave-llm/conclave/plugins/secretsource"
	"github.com/conclave-llm/conclave/resource"
)

// maxSocketDir is how long the folder of sockets may be: with what go-plugin appends, a path
// must fit the 108 bytes of a Unix socket's address.
const maxSocketDir = 60

// ErrClosed is returned by a Host that was closed.
var ErrClosed = errors.New("plugin host is closed")

// Config configures a Host.
type Config struct {
	Dir     string          // the host's own folder, made with mode 0700: binaries, marks, sockets
	WorkDir string          // where plugins run, relative paths in their configurations begin here; "": Dir
	Exe     string          // binary with the shipped plugins; "": this one
	Args    []string        // before a shipped plugin's name; nil: "plugin", "serve"
	Version string          // of the host, told to plugins
	Source  callback.Source // journal for callbacks; nil: there are no callbacks
	// Fetch reads the binary of an uploaded plugin by its SHA-256; nil: there are none.
	Fetch func(ctx context.Context, digest string) ([]byte, error)
	// Sources is told which process serves each secret source; nil: there are none.
	Sources Sources
	// Auths asks the auth plugins; nil: there are none.
	Auths *auth.Gate
	// Filters asks the router filters; nil: there are none.
	Filters *routerfilter.Gate
	// Providers asks the provider plugins; nil: there are none.
	Providers *modelserver.Gate
	// Guards says which changes of guardrails Sync has been told of; nil: all of them.
	Guards *guardrail.Current
	// Start is where a callback without a high-water mark begins to read; nil: at position 0.
	Start func() uint64

	Logger     *slog.Logger          // nil: logs nothing
	Registerer prometheus.Registerer // nil: metrics are not registered

	MemoryLimit int64         // bytes of one plugin, above which it is killed; 0: 256 MiB
	RestartMin  time.Duration // wait before the second restart in a row, then doubled; 0: 100 ms
	RestartMax  time.Duration // 0: 30 s
	Crashes     int           // in a minute, after which a plugin waits RestartMax; 0: 5
	HungAfter   time.Duration // silence of a plugin, although asked, after which it is killed; 0: 10 s

	// StoppedAfter is for how long a plugin that a signal has stopped may stand still before it is killed; 0: 50 ms.
	StoppedAfter time.Duration
	// SilentAfter is for how long a plugin that has let three questions in a row pass their deadline may still answer
	// none, asleep, before it is killed; 0: 200 ms.
	SilentAfter time.Duration
}

// Sources is who asks secret sources; *secretsource.Cache is one.
type Sources interface {
	SetReader(name string, r secretsource.Reader)  // serves the source from now on
	DropReader(name string, r secretsource.Reader) // does not any more
}

// Host runs the plugins of a node. All methods are safe for concurrent use.
type Host struct {
	cfg     Config
	chain   *guardrail.Chain
	metrics metrics
	queues  *callback.Metrics

	mu       sync.Mutex // guards what follows and serializes Sync and Close
	running  map[key]*supervisor
	fronts   map[string]*front // guardrails by name
	retiring sync.WaitGroup    // removed plugins that still stop
	closed   bool
	closing  chan struct{}    // closed with it
	launcher *launch.Launcher // nil until something runs
	binaries string           // folder of verified binaries
	sockets  string           // folder of sockets
	ownTemp  bool             // sockets is outside of Dir
}

type metrics struct {
	restarts *prometheus.CounterVec
	rss      *prometheus.GaugeVec
}

// Status tells about one plugin.
type Status struct {
	Kind     Kind
	Name     string // of the record that names it
	Instance int    // which of its processes, from 0
	Plugin   string
	Bundle   string    // version of the bundle, of an uploaded plugin
	SHA256   string    // of the binary, of a plugin that is not shipped
	Runs     string    // SHA-256 of the binary of the process that runs: another one while a new one does not start
	Outdated bool      // what runs was configured before the newest change: it is not through, or cannot run, and Error says why
	Version  string    // that the plugin reports
	SDK      string    // contract that it was built against: "1.5"
	Since    time.Time // it has been in the state; of one that runs: this process has
	State    State
	PID      int   // 0: no process
	RSS      int64 // bytes
	Restarts int
	Error    string   // the last one; of a callback that runs, why its sink does not take records
	Output   []string // the last lines that it wrote
	HoldBack int      // bytes by which the guardrail delays the text of a stream
	HoldAll  bool     // the guardrail delays a stream to its end
	Mark     uint64   // of a callback: everything below is in the sink

	Endpoints  []string // that a provider serves: "chat", "embeddings"
	Models     []string // that it says it has, the first hundred; none: it takes any
	ModelCount int      // how many it has
}

// NewHost makes a host that runs nothing yet.
func NewHost(cfg Config) *Host {
	cfg.MemoryLimit = cmp.Or(cfg.MemoryLimit, 256<<20)
	cfg.RestartMin = cmp.Or(cfg.RestartMin, 100*time.Millisecond)
	cfg.RestartMax = cmp.Or(cfg.RestartMax, 30*time.Second)
	cfg.Crashes = cmp.Or(cfg.Crashes, 5)
	cfg.HungAfter = cmp.Or(cfg.HungAfter, 10*time.Second)
	cfg.SilentAfter = cmp.Or(cfg.SilentAfter, 200*time.Millisecond)
	cfg.StoppedAfter = cmp.Or(cfg.StoppedAfter, 50*time.Millisecond)
	cfg.WorkDir = cmp.Or(cfg.WorkDir, cfg.Dir)
	if cfg.Args == nil {
		cfg.Args = []string{"plugin", "serve"}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	label := []string{"kind", "name"}
	h := &Host{
		cfg:     cfg,
		chain:   guardrail.NewChain(cfg.Guards, guardrail.NewMetrics(cfg.Registerer)),
		queues:  callback.NewMetrics(cfg.Registerer),
		running: make(map[key]*supervisor),
		fronts:  make(map[string]*front),
		closing: make(chan struct{}),
		metrics: metrics{
			restarts: prometheus.NewCounterVec(prometheus.CounterOpts{
				Name: "conclave_plugin_restarts_total", Help: "Starts of a plugin after it failed.",
			}, label),
			rss: prometheus.NewGaugeVec(prometheus.GaugeOpts{
				Name: "conclave_plugin_resident_bytes", Help: "Memory of a plugin's process.",
			}, append(label, "instance")),
		},
	}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(h.metrics.restarts, h.metrics.rss)
	}
	return h
}

// Guardrails returns the chain that the request path asks. It is the same for the host's life.
func (h *Host) Guardrails() *guardrail.Chain { return h.chain }

// Sync makes what runs match the specs: it starts, stops and reconfigures, and returns without
// waiting for plugins to be up or gone. What is already as it should be is left alone. With an
// error the other specs are followed nevertheless, and a guardrail that cannot be started is
// in the chain as one that does not run.
func (h *Host) Sync(specs []Spec) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	wanted := processes(specs)
	for k, v := range h.running {
		if s := wanted[k]; s == nil || s.ID != v.id {
			delete(h.running, k)
			h.retiring.Go(func() { h.retire(v, s == nil || s.ID != v.id) })
		}
	}
	h.frontsLocked(wanted)
	var errs []error
	if len(wanted) > 0 {
		errs = append(errs, h.prepareLocked(wanted))
	}
	if h.launcher != nil {
		for k, s := range wanted {
			errs = append(errs, h.syncOneLocked(k, s))
		}
	}
	h.publishLocked()
	return errors.Join(errs...)
}

// frontsLocked makes the fronts match the guardrails that should be.
func (h *Host) frontsLocked(wanted map[key]*Spec) {
	for name, f := range h.fronts {
		if s := wanted[key{KindGuardrail, name, 0}]; s == nil || s.ID != f.id {
			delete(h.fronts, name)
		}
	}
	for k, s := range wanted {
		if k.kind != KindGuardrail || k.instance != 0 {
			continue
		}
		if f := h.fronts[k.name]; f != nil {
			f.update(s)
		} else {
			h.fronts[k.name] = newFront(s)
		}
	}
}

// syncOneLocked starts or updates one process.
func (h *Host) syncOneLocked(k key, s *Spec) error {
	if v, ok := h.running[k]; ok {
		v.update(*s)
		return nil
	}
	log := h.cfg.Logger.With("kind", string(s.Kind), "name", s.Name, "plugin", s.Plugin)
	v := &supervisor{
		host: h, log: log, output: &lines{log: log}, changed: make(chan struct{}, 1),
		kind: s.Kind, id: s.ID, name: s.Name, instance: s.instance, spec: *s, state: StateStarting, since: time.Now(),
	}
	switch s.Kind {
	case KindGuardrail:
		v.front = h.fronts[s.Name]
	case KindCallback:
		if h.cfg.Source == nil {
			return fmt.Errorf("callback %s: this host has no journal", s.Name)
		}
		q, err := callback.NewQueue(callback.QueueConfig{
			Name: s.Name, MarkPath: h.markPath(s), Start: h.start(), Source: h.cfg.Source, Logger: log, Metrics: h.queues,
			Subscription: s.Subscription, Redelivery: s.Redelivery,
		})
		if err != nil {
			return err
		}
		v.queue = q
	case KindSource:
		if h.cfg.Sources == nil {
			return fmt.Errorf("secret source %s: this host has no place for it", s.Name)
		}
		v.place = placeIn(h.cfg.Sources, s.Name)
	case KindAuth:
		if h.cfg.Auths == nil {
			return fmt.Errorf("auth plugin %s: this host has no place for it", s.Name)
		}
		v.place = authIn(h.cfg.Auths, s)
	case KindFilter:
		if h.cfg.Filters == nil {
			return fmt.Errorf("router filter %s: this host has no place for it", s.Name)
		}
		v.place = filterIn(h.cfg.Filters, s)
	case KindProvider:
		if h.cfg.Providers == nil {
			return fmt.Errorf("provider plugin %s: this host has no place for it", s.Name)
		}
		v.place = providerIn(h.cfg.Providers, s)
	default:
		return fmt.Errorf("plugin %s: kind %q is unknown", s.Name, s.Kind)
	}
	h.running[k] = v
	h.metrics.restarts.WithLabelValues(string(v.kind), v.name) // counts from 0 on
	v.start()
	return nil
}

// placeIn puts what runs of a secret source where it is asked; nil takes it away.
func placeIn(sources Sources, name string) func(*instance) {
	var now *secretsource.Client
	return func(i *instance) {
		before := now
		if now = nil; i != nil {
			now = i.p.conn.(*secretsource.Client)
			sources.SetReader(name, now)
		} else if before != nil {
			sources.DropReader(name, before)
		}
	}
}

// authIn is placeIn of an auth plugin.
func authIn(gate *auth.Gate, s *Spec) func(*instance) {
	var now *auth.Client
	return func(i *instance) {
		before := now
		if now = nil; i != nil {
			now = i.p.conn.(*auth.Client)
			gate.Set(s.Name, s.instance, now, i.auth)
		} else if before != nil {
			gate.Drop(s.Name, s.instance, before)
		}
	}
}

// filterIn is placeIn of a router filter.
func filterIn(gate *routerfilter.Gate, s *Spec) func(*instance) {
	var now *routerfilter.Client
	return func(i *instance) {
		before := now
		if now = nil; i != nil {
			now = i.p.conn.(*routerfilter.Client)
			gate.Set(s.Name, s.instance, now)
		} else if before != nil {
			gate.Drop(s.Name, s.instance, before)
		}
	}
}

// providerIn is placeIn of a provider.
func providerIn(gate *modelserver.Gate, s *Spec) func(*instance) {
	var now *modelserver.Client
	return func(i *instance) {
		before := now
		if now = nil; i != nil {
			now = i.p.conn.(*modelserver.Client)
			gate.Set(s.Name, s.instance, now)
		} else if before != nil {
			gate.Drop(s.Name, s.instance, before)
		}
	}
}

func (h *Host) start() uint64 {
	if h.cfg.Start == nil {
		return 0
	}
	return h.cfg.Start()
}

func (h *Host) markPath(s *Spec) string {
	return filepath.Join(h.cfg.Dir, "marks", cmp.Or(s.ID, s.Name)+".mark")
}

// publishLocked gives the chain its members.
func (h *Host) publishLocked() {
	var members []*guardrail.Member
	for _, f := range h.fronts {
		members = append(members, f.current())
	}
	h.chain.Replace(members)
}

// retire stops a plugin for good; gone says that its record is, and its mark with it.
func (h *Host) retire(v *supervisor, gone bool) {
	if gone && v.kind == KindProvider {
		v.empty(h.closing)
	}
	v.stop()
	if v.queue != nil {
		v.queue.Close()
		if gone {
			v.queue.Forget()
		}
	}
	switch {
	case !gone:
	case v.kind == KindGuardrail:
		h.chain.Forget(v.name)
	case v.kind == KindAuth:
		h.cfg.Auths.Forget(v.name)
	case v.kind == KindFilter:
		h.cfg.Filters.Forget(v.name)
	}
	h.metrics.rss.DeleteLabelValues(string(v.kind), v.name, strconv.Itoa(v.instance))
	if v.instance == 0 {
		h.metrics.restarts.DeleteLabelValues(string(v.kind), v.name)
	}
}

// prepareLocked makes the folders and the launcher when the first plugin is to run.
func (h *Host) prepareLocked(wanted map[key]*Spec) error {
	if h.launcher != nil {
		return nil
	}
	dir, err := filepath.Abs(h.cfg.Dir)
	if err != nil {
		return fmt.Errorf("prepare plugins: %w", err)
	}
	h.cfg.Dir = dir
	if h.cfg.WorkDir, err = filepath.Abs(h.cfg.WorkDir); err != nil {
		return fmt.Errorf("prepare plugins: %w", err)
	}
	if h.cfg.Exe = cmp.Or(h.cfg.Exe, selfExe); h.cfg.Exe == "" {
		h.cfg.Exe, err = os.Executable()
	} else {
		h.cfg.Exe, err = filepath.Abs(h.cfg.Exe)
	}
	if err != nil {
		return fmt.Errorf("prepare plugins: %w", err)
	}
	h.binaries, h.sockets = filepath.Join(dir, "bin"), filepath.Join(dir, "s")
	if len(h.sockets) > maxSocketDir {
		if h.sockets, err = os.MkdirTemp("", "conclave-"); err != nil { // its mode is 0700
			return fmt.Errorf("prepare plugins: %w", err)
		}
		h.ownTemp = true
	} else if err := os.RemoveAll(h.sockets); err != nil { // left by a host that was killed
		return fmt.Errorf("prepare plugins: %w", err)
	}
	for _, d := range []string{dir, h.binaries, h.sockets, filepath.Join(dir, "marks")} {
		if err := privateDir(d); err != nil {
			return fmt.Errorf("prepare plugins: %w", err)
		}
	}
	prune(h.binaries, wanted)
	h.launcher = launch.New()
	return nil
}

// Ready returns an error that names the plugins without which requests fail, and that are not up.
func (h *Host) Ready() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var missing []string
	for _, f := range h.fronts {
		m := f.current()
		if m.OnError != resource.OnErrorPass && m.Live() == nil {
			missing = append(missing, m.Name)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return fmt.Errorf("guardrails are not up: %s", strings.Join(missing, ", "))
	}
	return h.neededLocked()
}

// neededLocked is Ready for auth plugins and router filters.
func (h *Host) neededLocked() error {
	up := map[string]bool{} // by kind and name
	for _, v := range h.running {
		if needed, runs := v.needed(); needed {
			what := string(v.kind) + " " + v.name
			up[what] = up[what] || runs
		}
	}
	var missing []string
	for what, runs := range up {
		if !runs {
			missing = append(missing, what)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return fmt.Errorf("plugins are not up: %s", strings.Join(missing, ", "))
}

// Status lists the plugins by kind and name.
func (h *Host) Status() []Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]Status, 0, len(h.running))
	for _, v := range h.running {
		s := v.status()
		if v.queue != nil {
			s.Mark, s.Error = v.queue.Mark(), cmp.Or(s.Error, v.queue.Failing())
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b Status) int {
		return cmp.Or(cmp.Compare(b.Kind, a.Kind), strings.Compare(a.Name, b.Name), cmp.Compare(a.Instance, b.Instance))
	})
	return list
}

// Delivered is the position below which every callback has everything, so that the journal
// may drop it; ok is false without callbacks.
func (h *Host) Delivered() (position uint64, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, v := range h.running {
		if v.queue == nil {
			continue
		}
		if m := v.queue.Mark(); !ok || m < position {
			position, ok = m, true
		}
	}
	return position, ok
}

// Wake tells the callbacks that the journal has new records; without it they look five times
// a second.
func (h *Host) Wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, v := range h.running {
		if v.queue != nil {
			v.queue.Wake()
		}
	}
}

// Close stops all plugins and waits for them.
func (h *Host) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.closed = true
	close(h.closing)
	var wg sync.WaitGroup
	for _, v := range h.running {
		wg.Go(func() { h.retire(v, false) })
	}
	wg.Wait()
	h.retiring.Wait()
	clear(h.running)
	if h.launcher != nil {
		h.launcher.Close()
	}
	if h.ownTemp {
		_ = os.RemoveAll(h.sockets)
	}
}
