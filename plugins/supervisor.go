package plugins

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/plugins/callback"
	"github.com/conclave-llm/conclave/plugins/contract"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/modelserver"
)

const (
	crashWindow = time.Minute      // in which crashes are counted
	drainFor    = 30 * time.Second // for what is under way in a process that is replaced
	drainModels = 10 * time.Minute // likewise, of a provider: answers of models take long

	maxShownModels = 100 // of a provider, in its status
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
	StateFaulty   State = "faulty"                 // the configuration refers to what is not there, and nothing ran before it
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
	// Of run's goroutine:
	last     *Spec     // that ran
	silenced time.Time // when a process was replaced because it was silent
	doubted  bool      // the process that runs is to be replaced

	mu       sync.Mutex // guards what follows
	spec     Spec
	live     *guardrail.Live         // of a guardrail: what runs
	process  *process                // that runs and is asked; nil: none
	runs     *Spec                   // that process was made for; nil: none
	serves   modelserver.Description // of a provider that runs
	state    State
	since    time.Time // of state and, while it runs, of process
	sdk      string
	pid      int
	version  string
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

// run keeps the plugin running until ctx ends: with the newest spec or, while that does not run, with the last one that did.
func (v *supervisor) run(ctx context.Context) {
	var current *instance
	failures := 0
	for ctx.Err() == nil {
		spec := v.newest()
		if current != nil && current.spec.sameProcess(&spec) && !v.doubted { // what was wrong was taken back
			v.publish(current)
			current = v.await(ctx, current, -1, &failures)
			continue
		}
		wait := time.Duration(-1)
		if next, err := v.host.launch(ctx, spec, v.output); err == nil {
			v.replace(ctx, current, next)
			current, v.last, v.doubted, failures = next, &next.spec, false, 0
		} else if ctx.Err() == nil {
			current, wait = v.fallBack(ctx, current, &spec, err, failures)
			failures++
		}
		current = v.await(ctx, current, wait, &failures)
	}
	v.publish(nil)
	if current != nil {
		current.p.kill()
	}
	v.set(StateStopped, nil)
}

// newest returns what should run.
func (v *supervisor) newest() Spec {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.process == nil { // else the old process goes on meanwhile
		v.enterLocked(StateStarting)
	}
	return v.spec
}

// fallBack returns what serves while the newest spec cannot run, for the reason why: what runs, or else the last that
// ran, started again if its binary is still the one that is registered; nil if there is none. It also returns how long to
// wait before the newest is tried again, less than 0 if nothing but a change will help.
func (v *supervisor) fallBack(ctx context.Context, current *instance, spec *Spec, why error, failures int) (serves *instance, wait time.Duration) {
	u, lasting := errors.AsType[*unable](why)
	if lasting && u.state != StateFaulty { // the registration says that nothing is to run here
		v.publish(nil)
		if current != nil {
			current.p.kill()
		}
		v.last = nil
	}
	if current == nil && v.last != nil && v.last.sameBinary(spec) {
		if back, err := v.host.launch(ctx, *v.last, v.output); err == nil {
			v.replace(ctx, nil, back)
			current = back
		} else {
			why, lasting = errors.Join(why, fmt.Errorf("the last configuration that ran does not start either: %w", err)), false
		}
	}
	if !lasting {
		return current, v.crashed(why, current != nil, failures)
	}
	if u.state != StateFaulty {
		current = nil
	}
	v.unable(u, current != nil)
	return current, -1
}

// unable notes that the newest spec cannot run.
func (v *supervisor) unable(why *unable, oldGoesOn bool) {
	if oldGoesOn {
		v.set(StateRunning, why)
	} else {
		v.set(why.state, why)
	}
	v.log.Error("plugin cannot run as it is configured", "state", string(why.state), "error", why.error, "earlier_goes_on", oldGoesOn)
}

// await returns when the newest spec should be tried: it has changed, the wait is over (less than 0: it never is), what runs is
// doubted, or has ended, after the wait for that. It returns what still runs.
func (v *supervisor) await(ctx context.Context, current *instance, wait time.Duration, failures *int) *instance {
	var due <-chan time.Time
	if wait >= 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		due = t.C
	}
	if current != nil {
		left, err := v.watch(ctx, current, due)
		if err == nil || ctx.Err() != nil {
			return left
		}
		t := time.NewTimer(v.crashed(err, false, 0))
		defer t.Stop()
		due, *failures = t.C, 1
	}
	select {
	case <-due:
	case <-v.changed:
	case <-ctx.Done():
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
	for s.Waiting() > 0 {
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
	was := v.process
	v.live, v.process, v.runs, v.serves = nil, nil, nil, modelserver.Description{}
	if i != nil {
		v.process = i.p
		v.enterLocked(StateRunning)
		if was != i.p {
			v.since = time.Now()
		}
		v.pid, v.version, v.sdk, v.lastErr = pidOf(i.p), i.version, contract.Name(i.sdk), nil
		v.live, v.runs, v.serves = i.live, &i.spec, i.serves
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

// set notes the state, and why if err is not nil.
func (v *supervisor) set(s State, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.enterLocked(s)
	if v.process == nil {
		v.pid, v.rss = 0, 0
	}
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
		State: v.state, PID: v.pid, RSS: v.rss, Restarts: v.restarts, Output: v.output.last(),
	}
	if v.lastErr != nil {
		s.Error = v.lastErr.Error()
	}
	if v.runs != nil {
		s.Runs, s.Outdated = v.runs.SHA256, !v.runs.sameProcess(&v.spec)
	}
	s.Endpoints, s.ModelCount = v.serves.Endpoints, len(v.serves.Models)
	s.Models = v.serves.Models[:min(len(v.serves.Models), maxShownModels)]
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
