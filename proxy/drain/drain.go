// Package drain lets attempts outlive the clients that they were made for, so that a provider
// that goes on anyway says what it has made: bounded in number and in time.
package drain

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Most is how many attempts of a node may outlive their clients at the same time.
const Most = 1024

// Why an attempt ends that has outlived its client.
var (
	ErrLate = errors.New("the client has left, and the answer did not end in time")
	ErrMany = errors.New("the client has left, and too many answers are read to their end")
)

// Drains are the attempts of a node that outlive their clients. It may be used concurrently.
type Drains struct {
	most    int
	results *prometheus.CounterVec

	mu     sync.Mutex // guards active
	active int
}

// New returns Drains for at most so many attempts at a time; 0 means Most.
func New(most int, r prometheus.Registerer) (*Drains, error) {
	if most == 0 {
		most = Most
	}
	d := &Drains{most: most, results: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "conclave_drained_answers_total", Help: "Answers whose clients left first, where on_disconnect is drain, by what came of them: ended, late or refused.",
	}, []string{"result"})}
	gauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "conclave_draining_answers", Help: "Answers that are read to their end though their clients have left.",
	}, func() float64 {
		d.mu.Lock()
		defer d.mu.Unlock()
		return float64(d.active)
	})
	if r == nil {
		return d, nil
	}
	if err := errors.Join(r.Register(d.results), r.Register(gauge)); err != nil {
		return nil, fmt.Errorf("register metrics of drains: %w", err)
	}
	return d, nil
}

// Begin returns the context of an attempt for the client of ctx. When ctx ends it goes on for at
// most limit, if there is room. The attempt calls end when it is over.
func (d *Drains) Begin(ctx context.Context, limit time.Duration) (of context.Context, end func()) {
	of, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	a := &attempt{of: d, cancel: cancel, limit: limit}
	stop := context.AfterFunc(ctx, a.left)
	return of, func() {
		stop()
		a.end()
	}
}

// take says whether one more may outlive its client.
func (d *Drains) take() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.active >= d.most {
		return false
	}
	d.active++
	return true
}

func (d *Drains) give(result string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.active--
	d.results.WithLabelValues(result).Inc()
}

// attempt is one that may outlive its client.
type attempt struct {
	of     *Drains
	cancel context.CancelCauseFunc
	limit  time.Duration

	mu    sync.Mutex // guards what follows
	timer *time.Timer
	late  bool
	ended bool
}

// left is called when the client has left.
func (a *attempt) left() {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.ended:
	case a.of.take():
		a.timer = time.AfterFunc(a.limit, a.expire)
	default:
		a.of.results.WithLabelValues("refused").Inc()
		a.cancel(ErrMany)
	}
}

func (a *attempt) expire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.late = true
	a.cancel(ErrLate)
}

func (a *attempt) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.ended && a.timer != nil {
		a.timer.Stop()
		result := "ended"
		if a.late {
			result = "late"
		}
		a.of.give(result)
	}
	a.ended = true
	a.cancel(nil)
}
