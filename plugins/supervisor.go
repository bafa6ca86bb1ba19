package plugins

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/plugins/auth"
	"github.com/conclave-llm/conclave/plugins/callback"
	"github.com/conclave-llm/conclave/plugins/contract"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/modelserver"
	"github.com/conclave-llm/conclave/plugins/routerfilter"
	"github.com/conclave-llm/conclave/plugins/secretsource"
)

const (
	crashWindow = time.Minute      // in which crashes are counted
	drainFor    = 30 * time.Second // for what is under way in a process that is replaced
	drainModels = 10 * time.Minute // likewise, of a provider: answers of models take long
)

// State is what a plugin is doing.
type State string

// The states of a plugin.
const (
	StateStarting State = "starting"
	StateRunning  State = "running"
	StateBackoff  State = "backoff" // waits before it is started again
	StateOpen     State = "open"    // crashed too often; started again after the longest wait
	StateStopped  State = "stopped"

	// What follows lasts until the registration or the configuration changes.

	StateMissing  State = "missing"                // no such plugin is registered
	StateNoBinary State = "no_binary_for_platform" // the uploaded bundle has none for this node
	StateFaulty   State = "faulty"                 // the configuration refers to what is not there
)

// supervisor keeps one plugin running.
type supervisor struct {
	host   *Host
	log    *slog.Logger
	output *lines
	kind   Kind
	id     string // of the record
	name   string
	front  *front          // of a guardrail
	queue  *callback.Queue // of a callback
	place  func(*instance) // of any other kind: puts what runs where it is asked, nil takes it away

	instance int // which of the processes

	changed chan struct{} // the spec has changed
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu       sync.Mutex // guards what follows
	spec     Spec
	live     *guardrail.Live // of a guardrail: what runs
	process  *process        // that runs and is asked; nil: none
	state    State
	since    time.Time // of state
	sdk      string
	pid      int
	version  string
	runs     string // SHA-256 of the binary of the process that runs, of a plugin that is not shipped
	rss      int64
	restarts int
	lastErr  error
	crashes  []time.Time // within the last crashWindow
}

// start starts the supervisor's goroutine, which ends with stop.
func (v *supervisor) start() {
	ctx, cancel := context.WithCancel(context.Background())
	v.cancel = cancel
	v.wg.Go(func() { v.run(ctx) })
}

// stop ends the plugin and waits for it.
func (v *supervisor) stop() {
	v.cancel()
	v.wg.Wait()
}

// update gives the plugin a new spec. What differs in the process is started beside the old
// one, which goes on until the new one is configured.
func (v *supervisor) update(s Spec) {
	v.mu.Lock()
	same := v.spec.sameProcess(&s)
	v.spec = s
	if v.queue != nil {
		v.queue.Subscribe(s.Subscription, s.Redelivery)
	}
	v.mu.Unlock()
	if same {
		return
	}
	select {
	case v.changed <- struct{}{}:
	default:
	}
}

// run starts the plugin again and again until ctx ends.
func (v *supervisor) run(ctx context.Context) {
	var current *instance
	failures := 0
	for ctx.Err() == nil {
		next, err := v.launch(ctx)
		if err == nil {
			v.replace(ctx, current, next)
			current = next
			failures = 0
			current, err = v.watch(ctx, current)
			if err == nil {
				continue // the spec has changed
			}
		}
		if ctx.Err() != nil {
			break
		}
		if u, ok := errors.AsType[*unable](err); ok {
			v.rest(ctx, current, u)
			current = nil
			continue
		}
		wait := v.crashed(err, current != nil, failures)
		failures++
		if !v.pause(ctx, &current, wait) {
			break
		}
	}
	v.publish(nil)
	if current != nil {
		current.p.kill()
	}
	v.set(StateStopped, 0, nil)
}

// rest waits for another spec, because the plugin cannot run with this one. What ran before it
// ends: on_error says what becomes of requests.
func (v *supervisor) rest(ctx context.Context, current *instance, why *unable) {
	v.publish(nil)
	if current != nil {
		current.p.kill()
	}
	v.set(why.state, 0, why)
	v.log.Error("plugin cannot run", "state", string(why.state), "error", why.error)
	select {
	case <-v.changed:
	case <-ctx.Done():
	}
}

// instance is a configured process.
type instance struct {
	p        *process
	live     *guardrail.Live
	callback callback.Description
	auth     auth.Description
	sha256   string // of the binary
	version  string
	sdk      uint32
}

// launch starts and configures a process for the newest spec.
func (v *supervisor) launch(ctx context.Context) (*instance, error) {
	v.mu.Lock()
	spec := v.spec
	if v.state != StateRunning { // else the old process goes on meanwhile
		v.enterLocked(StateStarting)
	}
	v.mu.Unlock()
	if err := spec.unable(); err != nil {
		return nil, err
	}
	p, err := v.host.startProcess(ctx, &spec, v.output)
	if err != nil {
		return nil, err
	}
	turn, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	i := &instance{p: p, sha256: spec.SHA256}
	switch c := p.conn.(type) {
	case *guardrail.Client:
		i.live = &guardrail.Live{Backend: c}
		i.live.Description, err = c.Configure(turn, guardrail.Settings{
			Name: spec.Name, Config: spec.Config, HostVersion: v.host.cfg.Version,
		})
		i.version, i.sdk = i.live.Description.Version, i.live.Description.SDKMinor
	case *callback.Client:
		i.callback, err = c.Configure(turn, callback.Settings{
			Name: spec.Name, Config: spec.Config, HostVersion: v.host.cfg.Version,
		})
		i.version, i.sdk = i.callback.Version, i.callback.SDKMinor
	case *secretsource.Client:
		var d secretsource.Description
		d, err = c.Configure(turn, secretsource.Settings{Name: spec.Name, Config: spec.Config, HostVersion: v.host.cfg.Version})
		i.version, i.sdk = d.Version, d.SDKMinor
	case *auth.Client:
		i.auth, err = c.Configure(turn, auth.Settings{Name: spec.Name, Config: spec.Config, HostVersion: v.host.cfg.Version})
		i.version, i.sdk = i.auth.Version, i.auth.SDKMinor
	case *routerfilter.Client:
		var d routerfilter.Description
		d, err = c.Configure(turn, routerfilter.Settings{Name: spec.Name, Config: spec.Config, HostVersion: v.host.cfg.Version})
		i.version, i.sdk = d.Version, d.SDKMinor
	case *modelserver.Client:
		var d modelserver.Description
		d, err = c.Configure(turn, modelserver.Settings{Name: spec.Name, Config: spec.Config, HostVersion: v.host.cfg.Version})
		i.version, i.sdk = d.Version, d.SDKMinor
	}
	if s, ok := p.conn.(session); ok && err == nil {
		err = shadow(turn, s)
	}
	if err != nil {
		p.kill()
		return nil, err
	}
	return i, nil
}

// shadow sees that a new process answers, before requests depend on it: while it does not, the
// old one stays.
func shadow(ctx context.Context, s session) error {
	if err := s.Ping(ctx); err != nil {
		return fmt.Errorf("the new process was configured, and does not answer: %w", err)
	}
	return nil
}

// replace puts the new process in the place of the old one, which ends what it has under way.
func (v *supervisor) replace(ctx context.Context, old, next *instance) {
	v.publish(next)
	v.log.Info("plugin is running", "pid", pidOf(next.p), "version", next.version)
	if old == nil {
		return
	}
	v.wg.Go(func() {
		if s, ok := old.p.conn.(session); ok {
			drain(ctx.Done(), s, old.p.exited(), v.patience())
		}
		old.p.kill()
	})
}

// empty waits until nothing is under way in a provider's process that nobody asks any more, or until closing is
// closed: its deployments are gone, and what they have begun to answer they end, as others do.
func (v *supervisor) empty(closing <-chan struct{}) {
	v.mu.Lock()
	now := v.process
	v.mu.Unlock()
	if now == nil {
		return
	}
	if s, ok := now.conn.(session); ok {
		drain(closing, s, now.exited(), v.patience())
	}
}

// patience is how long a process that is not asked any more may go on with what is under way.
func (v *supervisor) patience() time.Duration {
	if v.kind == KindProvider {
		return drainModels
	}
	return drainFor
}

// drain waits until nothing is under way, but not for ever.
func drain(stop <-chan struct{}, s session, exited <-chan struct{}, most time.Duration) {
	end := time.NewTimer(most)
	defer end.Stop()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for !s.Idle() {
		select {
		case <-look.C:
		case <-exited:
			return
		case <-end.C:
			return
		case <-stop:
			return
		}
	}
}

// publish puts the process where it is asked; nil takes it away.
func (v *supervisor) publish(i *instance) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.live, v.process = nil, nil
	if i != nil {
		v.process = i.p
		v.enterLocked(StateRunning)
		v.pid, v.version, v.sdk, v.lastErr = pidOf(i.p), i.version, contract.Name(i.sdk), nil
		v.live, v.runs = i.live, i.sha256
	} else {
		v.runs = ""
	}
	switch {
	case v.front != nil:
		v.front.set(v.instance, v.live)
	case v.place != nil:
		v.place(i)
	case i != nil:
		v.queue.Set(i.p.conn.(*callback.Client), i.callback)
	default:
		v.queue.Set(nil, callback.Description{})
	}
}

// crashed notes the failure and says how long to wait: not at all the first time, then twice
// as long each time, and as long as can be when there were too many in a minute.
func (v *supervisor) crashed(err error, oldGoesOn bool, failures int) time.Duration {
	now := time.Now()
	wait := time.Duration(0)
	if failures > 0 {
		wait = min(v.host.cfg.RestartMax, v.host.cfg.RestartMin<<min(failures-1, 16))
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.restarts++
	v.lastErr = err
	for len(v.crashes) > 0 && now.Sub(v.crashes[0]) > crashWindow {
		v.crashes = v.crashes[1:]
	}
	v.crashes = append(v.crashes, now)
	if !oldGoesOn {
		v.enterLocked(StateBackoff)
		v.pid, v.rss = 0, 0
	}
	if len(v.crashes) > v.host.cfg.Crashes {
		wait = v.host.cfg.RestartMax
		if !oldGoesOn {
			v.enterLocked(StateOpen)
		}
	}
	wait += rand.N(wait/8 + 1) //nolint:gosec // jitter
	v.host.metrics.restarts.WithLabelValues(string(v.kind), v.name).Inc()
	v.log.Warn("plugin is started again", "error", err, "wait", wait, "crashes", len(v.crashes))
	return wait
}

// pause waits before the next start, but not when the spec changes. An old process that goes on
// meanwhile is watched. It returns false when ctx ends.
func (v *supervisor) pause(ctx context.Context, current **instance, wait time.Duration) bool {
	t := time.NewTimer(wait)
	defer t.Stop()
	var exited <-chan struct{}
	if *current != nil {
		exited = (*current).p.exited()
	}
	for {
		select {
		case <-t.C:
			return true
		case <-v.changed:
			return true
		case <-exited:
			v.publish(nil)
			(*current).p.kill()
			*current, exited = nil, nil
			v.set(StateBackoff, 0, nil)
		case <-ctx.Done():
			return false
		}
	}
}

func (v *supervisor) set(s State, pid int, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.enterLocked(s)
	v.pid, v.rss = pid, 0
	if err != nil {
		v.lastErr = err
	}
}

// enterLocked notes the state, and since when it has been so.
func (v *supervisor) enterLocked(s State) {
	if v.state != s {
		v.state, v.since = s, time.Now()
	}
}

// needed says whether requests fail without the plugin, and whether this process runs.
func (v *supervisor) needed() (needed, runs bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.spec.Needed, v.pid != 0 && v.state == StateRunning
}

// status tells about the plugin.
func (v *supervisor) status() Status {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := Status{
		Kind: v.kind, Name: v.name, Instance: v.instance, Plugin: v.spec.Plugin, Version: v.version,
		Bundle: v.spec.Bundle, SHA256: v.spec.SHA256, SDK: v.sdk, Since: v.since,
		Runs: v.runs, State: v.state, PID: v.pid, RSS: v.rss, Restarts: v.restarts, Output: v.output.last(),
	}
	if v.lastErr != nil {
		s.Error = v.lastErr.Error()
	}
	if v.live != nil {
		s.HoldBack, s.HoldAll = v.live.Description.HoldBack, v.live.Description.HoldAll
	}
	return s
}

func pidOf(p *process) int {
	p.run.mu.Lock()
	defer p.run.mu.Unlock()
	return p.run.pid
}
