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
	"github.com/conclave-llm/conclave/plugins/guardrail"
)

const (
	crashWindow = time.Minute      // in which crashes are counted
	watchEvery  = time.Second      // looks at memory and signs of life
	drainFor    = 30 * time.Second // for what is under way in a process that is replaced
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
)

var errHung = errors.New("plugin does not answer")

// supervisor keeps one plugin running.
type supervisor struct {
	host   *Host
	log    *slog.Logger
	output *lines
	kind   Kind
	id     string // of the record
	name   string
	queue  *callback.Queue // of a callback

	changed chan struct{} // the spec has changed
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu       sync.Mutex // guards what follows
	spec     Spec
	member   *guardrail.Member // of a guardrail
	live     *guardrail.Live   // what runs behind member
	state    State
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
	if v.kind == KindGuardrail && !v.spec.sameMember(&s) {
		v.member = newMember(&s, v.member)
		v.member.Set(v.live)
	}
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

// instance is a configured process.
type instance struct {
	p        *process
	live     *guardrail.Live
	callback callback.Description
	version  string
}

// launch starts and configures a process for the newest spec.
func (v *supervisor) launch(ctx context.Context) (*instance, error) {
	v.mu.Lock()
	spec := v.spec
	if v.state != StateRunning { // else the old process goes on meanwhile
		v.state = StateStarting
	}
	v.mu.Unlock()
	if spec.Missing {
		return nil, fmt.Errorf("no %s plugin is registered as %q", spec.Kind, spec.Plugin)
	}
	p, err := v.host.startProcess(ctx, &spec, v.output)
	if err != nil {
		return nil, err
	}
	turn, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	i := &instance{p: p}
	switch c := p.conn.(type) {
	case *guardrail.Client:
		i.live = &guardrail.Live{Backend: c}
		i.live.Description, err = c.Configure(turn, guardrail.Settings{
			Name: spec.Name, Config: spec.Config, HostVersion: v.host.cfg.Version,
		})
		i.version = i.live.Description.Version
	case *callback.Client:
		i.callback, err = c.Configure(turn, callback.Settings{
			Name: spec.Name, Config: spec.Config, HostVersion: v.host.cfg.Version,
		})
		i.version = i.callback.Version
	}
	if err != nil {
		p.kill()
		return nil, err
	}
	return i, nil
}

// replace puts the new process in the place of the old one, which ends what it has under way.
func (v *supervisor) replace(ctx context.Context, old, next *instance) {
	v.publish(next)
	v.log.Info("plugin is running", "pid", pidOf(next.p), "version", next.version)
	if old == nil {
		return
	}
	v.wg.Go(func() {
		if g, ok := old.p.conn.(*guardrail.Client); ok {
			drain(ctx, g, old.p.exited())
		}
		old.p.kill()
	})
}

// drain waits until nothing is under way, but not for ever.
func drain(ctx context.Context, g *guardrail.Client, exited <-chan struct{}) {
	end := time.NewTimer(drainFor)
	defer end.Stop()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for !g.Idle() {
		select {
		case <-look.C:
		case <-exited:
			return
		case <-end.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// publish puts the process behind the chain or the queue; nil takes it away.
func (v *supervisor) publish(i *instance) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.live = nil
	if i != nil {
		v.state, v.pid, v.version, v.lastErr = StateRunning, pidOf(i.p), i.version, nil
		v.live = i.live
	}
	switch {
	case v.member != nil:
		v.member.Set(v.live)
	case i != nil:
		v.queue.Set(i.p.conn.(*callback.Client), i.callback)
	default:
		v.queue.Set(nil, callback.Description{})
	}
}

// current returns the chain's member; nil for a callback.
func (v *supervisor) current() *guardrail.Member {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.member
}

// watch returns when the process has ended (nil and why), or, while it goes on, when the spec
// has changed (itself and nil).
func (v *supervisor) watch(ctx context.Context, i *instance) (*instance, error) {
	look := time.NewTicker(watchEvery)
	defer look.Stop()
	alive := watchdog{after: v.host.cfg.HungAfter, since: time.Now()}
	for {
		var err error
		select {
		case <-ctx.Done():
			return i, ctx.Err()
		case <-v.changed:
			return i, nil
		case <-i.p.exited():
			err = errors.New("plugin process ended")
		case <-sessionEnd(i.p):
			err = errors.New("plugin ended its session")
		case now := <-look.C:
			if err = v.overweight(i.p); err == nil {
				err = alive.look(ctx, i.p, now)
			}
		}
		if err != nil {
			v.publish(nil)
			i.p.run.signal()
			i.p.kill()
			return nil, err
		}
	}
}

func sessionEnd(p *process) <-chan struct{} {
	if g, ok := p.conn.(*guardrail.Client); ok {
		return g.Done()
	}
	return nil
}

// overweight returns an error if the process has more memory than it may.
func (v *supervisor) overweight(p *process) error {
	rss, err := residentBytes(pidOf(p))
	if err != nil {
		return nil //nolint:nilerr // it has ended, which is seen elsewhere, or this system cannot tell
	}
	v.mu.Lock()
	v.rss = rss
	v.mu.Unlock()
	v.host.metrics.rss.WithLabelValues(string(v.kind), v.name).Set(float64(rss))
	if limit := v.host.cfg.MemoryLimit; rss > limit {
		return fmt.Errorf("plugin has %d bytes of memory, more than %d", rss, limit)
	}
	return nil
}

// watchdog notices a guardrail that is stopped or stuck: every second it is asked for a sign of
// life, without waiting for the answer.
type watchdog struct {
	after time.Duration
	heard uint64
	since time.Time
}

func (w *watchdog) look(ctx context.Context, p *process, now time.Time) error {
	g, ok := p.conn.(*guardrail.Client)
	if !ok {
		return nil
	}
	if heard := g.Heard(); heard != w.heard {
		w.heard, w.since = heard, now
	}
	if now.Sub(w.since) > w.after {
		return errHung
	}
	soon, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	_ = g.Ping(soon) // what counts is what is heard
	return nil
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
		v.state, v.pid, v.rss = StateBackoff, 0, 0
	}
	if len(v.crashes) > v.host.cfg.Crashes {
		wait = v.host.cfg.RestartMax
		if !oldGoesOn {
			v.state = StateOpen
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
	v.state, v.pid = s, pid
	if err != nil {
		v.lastErr = err
	}
}

// status tells about the plugin.
func (v *supervisor) status() Status {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := Status{
		Kind: v.kind, Name: v.name, Plugin: v.spec.Plugin, Version: v.version,
		State: v.state, PID: v.pid, RSS: v.rss, Restarts: v.restarts, Output: v.output.last(),
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
