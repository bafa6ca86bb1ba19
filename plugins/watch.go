package plugins

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// watchEvery is how often a process's memory and signs of life are looked at.
const watchEvery = time.Second

var errHung = errors.New("plugin does not answer")

// watch returns when the process has ended (nil and why), or, while it goes on, when the spec
// has changed or something is due (itself and nil).
func (v *supervisor) watch(ctx context.Context, i *instance, due <-chan time.Time) (*instance, error) {
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
		case <-due:
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

// watchdog notices a plugin with a session that is stopped or stuck: every second it is asked for a sign of
// life, without waiting for the answer.
type watchdog struct {
	after time.Duration
	heard uint64
	since time.Time
}

func (w *watchdog) look(ctx context.Context, p *process, now time.Time) error {
	s, ok := p.conn.(session)
	if !ok {
		return nil
	}
	if heard := s.Heard(); heard != w.heard {
		w.heard, w.since = heard, now
	}
	if now.Sub(w.since) > w.after {
		return errHung
	}
	soon, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	_ = s.Ping(soon) // what counts is what is heard
	return nil
}
