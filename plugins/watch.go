package plugins

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	sessions "github.com/conclave-llm/conclave/plugins/session"
)

const (
	lookEvery = 100 * time.Millisecond // at a process's memory, and at whether it is stopped or silent
	askEvery  = 10                     // looks: at each of these it is asked for a sign of life

	maxUnanswered = 2 // deliveries in a row that a callback lets pass their deadline

	// A process is silent if so many questions in a row have passed their deadline, and none was answered meanwhile,
	// and if in so many looks it had nothing to do: one that waits for a busy machine has.
	maxMissed  = 3
	quietLooks = 3

	// It is doubted, before a deadline passes, if it answers nothing for so many times as long as it ever was so within the last
	// minute, and if as many questions as maxMissed wait.
	doubtFactor  = 4
	looksAMinute = int(time.Minute / lookEvery)
)

var (
	errHung    = errors.New("plugin does not answer")
	errSilent  = errors.New("plugin lets deadlines pass in silence")
	errDoubted = errors.New("plugin fell silent while questions wait")
	errStopped = errors.New("plugin was stopped by a signal")
)

// watch returns when the process has ended (nil and why), or, while it goes on, when the spec
// has changed, something is due, or another process is to take its place (itself and nil).
func (v *supervisor) watch(ctx context.Context, i *instance, due <-chan time.Time) (*instance, error) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	alive := newWatchdog(ctx, i.p, &v.host.cfg)
	defer alive.close()
	alive.patience = v.silenced.Add(crashWindow)
	for {
		var err error
		select {
		case <-ctx.Done():
			return i, ctx.Err()
		case <-v.changed:
			return i, nil
		case <-due:
			return i, nil
		case <-i.p.exited():
			err = errors.New("plugin process ended")
		case <-sessionEnd(i.p):
			err = errors.New("plugin ended its session")
		case now := <-look.C:
			err = cmp.Or(v.overweight(i.p), alive.look(now), v.deaf())
		}
		if errors.Is(err, errSilent) || errors.Is(err, errDoubted) {
			v.silenced = time.Now()
		}
		if errors.Is(err, errDoubted) {
			v.crashed(err, true, 0)
			v.doubted = true
			return i, nil
		}
		if err != nil {
			v.publish(nil)
			i.p.run.signal()
			v.wg.Go(i.p.kill) // its successor does not wait until it is buried
			return nil, err
		}
	}
}

func sessionEnd(p *process) <-chan struct{} {
	if s, ok := p.conn.(session); ok {
		return s.Done()
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
	limit := cmp.Or(v.spec.MemoryLimit, v.host.cfg.MemoryLimit)
	v.mu.Unlock()
	v.host.metrics.rss.WithLabelValues(string(v.kind), v.name, strconv.Itoa(v.instance)).Set(float64(rss))
	if rss > limit {
		return fmt.Errorf("plugin has %d bytes of memory, more than %d", rss, limit)
	}
	return nil
}

// deaf returns an error if the process answers, but not what it is there for: its deliveries do not end.
func (v *supervisor) deaf() error {
	if v.queue != nil && v.queue.Unanswered() >= maxUnanswered {
		return errHung
	}
	return nil
}

// lively is what can be asked for a sign of life.
type lively interface {
	Ping(ctx context.Context) error // waits for it
	Signs() *sessions.Signs         // what was heard
	Waiting() int                   // questions that wait for its answer
}

// watchdog notices a process that is stopped or stuck. One that pauses as it never did is replaced as by a newer one: it ends what
// it has under way, so that nobody loses anything if it only was slow. It is asked for a sign of life every second, without
// waiting for the answer, and has long to give it if nobody else waits: a machine may be busy. One that a signal has
// stopped goes on by no means by itself, and one that sleeps while it lets questions pass their deadlines is of no use to those who ask.
type watchdog struct {
	p            *process
	asked        lively
	hung         time.Duration // of silence
	mute         time.Duration // likewise, of one that lets deadlines pass
	stopped      time.Duration // of standing still
	heard        uint64
	since        time.Time // it was heard, or the watch began
	deaf         time.Time // since when it lets deadlines pass; zero: it does not
	quiet        int       // looks since then at which it had nothing to do
	patience     time.Time // until when silence is judged after hung
	pause        pause
	stands       time.Time // since when it has been stopped; zero: it is not
	looks        int
	ctx          context.Context    // of questions: their life is the watch's
	cancel       context.CancelFunc // ends them
	unanswered   sync.WaitGroup
	isUnanswered atomic.Bool // a question is under way
}

func newWatchdog(ctx context.Context, p *process, cfg *Config) *watchdog {
	w := &watchdog{p: p, asked: p.health, hung: cfg.HungAfter, mute: cfg.SilentAfter, stopped: cfg.StoppedAfter, since: time.Now()}
	if s, ok := p.conn.(session); ok {
		w.asked = s // what is heard in its session is a sign of life, too
	}
	w.heard = w.asked.Signs().Heard()
	w.ctx, w.cancel = context.WithCancel(ctx)
	return w
}

// close ends the question that is under way.
func (w *watchdog) close() {
	w.cancel()
	w.unanswered.Wait()
}

// look returns an error if the process is to be replaced.
func (w *watchdog) look(now time.Time) error {
	if heard := w.asked.Signs().Heard(); heard != w.heard {
		w.heard, w.since = heard, now
	}
	pid := pidOf(w.p)
	switch {
	case !stands(pid):
		w.stands = time.Time{}
	case w.stands.IsZero():
		w.stands = now
	case now.Sub(w.stands) >= w.stopped:
		return errStopped
	}
	if now.Sub(w.since) > w.hung {
		return errHung
	}
	if err := w.silent(pid, now); err != nil {
		return err
	}
	if w.pause.look(w.asked, func() bool { return idle(pid) }) && now.After(w.patience) {
		return errDoubted
	}
	if w.looks++; w.looks%askEvery == 0 && w.isUnanswered.CompareAndSwap(false, true) {
		w.unanswered.Go(func() {
			_ = w.asked.Ping(w.ctx) // what counts is what is heard
			w.isUnanswered.Store(false)
		})
	}
	return nil
}

// silent returns an error if the process lets deadlines pass and answers nothing, as one does whose questions wait for each
// other for ever. Whether it answers pings does not matter. Briefly silent it must also be asleep, and that is judged once
// a minute: if its successor is silent as well, what it waits for is elsewhere, and no new process brings it.
func (w *watchdog) silent(pid int, now time.Time) error {
	if w.asked.Signs().Missed() < maxMissed {
		w.deaf, w.quiet = time.Time{}, 0
		return nil
	}
	if w.deaf.IsZero() {
		w.deaf = now
	}
	if idle(pid) {
		w.quiet++
	}
	switch silence := now.Sub(w.deaf); {
	case silence > w.hung:
		return errHung
	case silence >= w.mute && w.quiet >= quietLooks && now.After(w.patience):
		return errSilent
	}
	return nil
}

// pause is for how long a process has answered nothing although it was asked, in looks.
type pause struct {
	answered uint64 // by the last look
	waited   bool   // questions at the last look
	length   int
	quiet    int    // looks of it at which the process had nothing to do
	usual    [2]int // the longest that ended with an answer: of this minute, and of the one before
	looks    int
}

// look says whether the process is to be doubted: it has answered before, and never needed nearly as long.
func (p *pause) look(asked lively, idle func() bool) bool {
	if p.looks++; p.looks%looksAMinute == 0 {
		p.usual = [2]int{0, p.usual[0]}
	}
	answered, waiting := asked.Signs().Answered(), asked.Waiting()
	goesOn := answered == p.answered && p.waited && waiting > 0
	if answered != p.answered {
		p.usual[0] = max(p.usual[0], p.length)
	}
	p.answered, p.waited = answered, waiting > 0
	if !goesOn {
		p.length, p.quiet = 0, 0
		return false
	}
	p.length++
	if idle() {
		p.quiet++
	}
	return answered > 0 && waiting >= maxMissed && p.quiet >= quietLooks && p.length >= doubtFactor*max(p.usual[0], p.usual[1])
}

// health asks a process for signs of life by gRPC's protocol for that. It may be used concurrently.
type health struct {
	rpc   grpc_health_v1.HealthClient
	signs sessions.Signs
}

// Ping implements lively. A plugin in another language may not serve the protocol: it says so, and lives.
func (h *health) Ping(ctx context.Context) error {
	_, err := h.rpc.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: goplugin.GRPCServiceName})
	switch status.Code(err) {
	case codes.Canceled, codes.DeadlineExceeded, codes.Unavailable:
		return err
	}
	h.signs.Hear(0)
	return nil
}

// Signs implements lively.
func (h *health) Signs() *sessions.Signs { return &h.signs }

// Waiting implements lively: of the kinds that are asked so nobody knows.
func (h *health) Waiting() int { return 0 }
