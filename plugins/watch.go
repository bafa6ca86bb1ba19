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
)

const (
	lookEvery = 250 * time.Millisecond // at a process's memory, and at whether it is stopped
	askEvery  = 4                      // looks: at each of these it is asked for a sign of life

	maxUnanswered = 2 // deliveries in a row that a callback lets pass their deadline
)

var (
	errHung    = errors.New("plugin does not answer")
	errStopped = errors.New("plugin was stopped by a signal")
)

// watch returns when the process has ended (nil and why), or, while it goes on, when the spec
// has changed or something is due (itself and nil).
func (v *supervisor) watch(ctx context.Context, i *instance, due <-chan time.Time) (*instance, error) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	alive := newWatchdog(ctx, i.p, &v.host.cfg)
	defer alive.close()
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
		if err != nil {
			v.publish(nil)
			i.p.run.signal()
			i.p.kill()
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
	Heard() uint64                  // counts them
}

// watchdog notices a process that is stopped or stuck. It is asked for a sign of life every second, without
// waiting for the answer, and has long to give it: a machine may be busy, and a process that waits for its turn
// or for its memory cannot be told from one that is stuck. One that a signal has stopped can be, and goes on by
// no means by itself.
type watchdog struct {
	p            *process
	asked        lively
	hung         time.Duration // of silence
	stopped      time.Duration // of standing still
	heard        uint64
	since        time.Time // it was heard, or the watch began
	stands       time.Time // since when it has been stopped; zero: it is not
	looks        int
	ctx          context.Context    // of questions: their life is the watch's
	cancel       context.CancelFunc // ends them
	unanswered   sync.WaitGroup
	isUnanswered atomic.Bool // a question is under way
}

func newWatchdog(ctx context.Context, p *process, cfg *Config) *watchdog {
	w := &watchdog{p: p, asked: p.health, hung: cfg.HungAfter, stopped: cfg.StoppedAfter, since: time.Now()}
	if s, ok := p.conn.(session); ok {
		w.asked = s // what is heard in its session is a sign of life, too
	}
	w.heard = w.asked.Heard()
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
	if heard := w.asked.Heard(); heard != w.heard {
		w.heard, w.since = heard, now
	}
	switch {
	case !stands(pidOf(w.p)):
		w.stands = time.Time{}
	case w.stands.IsZero():
		w.stands = now
	case now.Sub(w.stands) >= w.stopped:
		return errStopped
	}
	if now.Sub(w.since) > w.hung {
		return errHung
	}
	if w.looks++; w.looks%askEvery == 0 && w.isUnanswered.CompareAndSwap(false, true) {
		w.unanswered.Go(func() {
			_ = w.asked.Ping(w.ctx) // what counts is what is heard
			w.isUnanswered.Store(false)
		})
	}
	return nil
}

// health asks a process for signs of life by gRPC's protocol for that. It may be used concurrently.
type health struct {
	rpc   grpc_health_v1.HealthClient
	heard atomic.Uint64
}

// Ping implements lively. A plugin in another language may not serve the protocol: it says so, and lives.
func (h *health) Ping(ctx context.Context) error {
	_, err := h.rpc.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: goplugin.GRPCServiceName})
	switch status.Code(err) {
	case codes.Canceled, codes.DeadlineExceeded, codes.Unavailable:
		return err
	}
	h.heard.Add(1)
	return nil
}

// Heard implements lively.
func (h *health) Heard() uint64 { return h.heard.Load() }
