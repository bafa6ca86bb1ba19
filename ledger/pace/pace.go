// Package pace lets questions about the past give way to requests. A question works in a lane that has few
// turns, in slices of a fifth of a millisecond. While requests are served it rests nine times as long after
// each, so that a storm of questions takes a tenth of a processor for each turn, and not the time of requests;
// one that has rested for a second in all is a long one, and rests only as long as it works.
package pace

import (
	"context"
	"runtime"
	"time"
)

const (
	slice  = 200 * time.Microsecond // of work, before others come
	rests  = 9                      // how often the time of work a question rests while requests are served
	enough = time.Second            // of rest in all, after which it rests once the time of work
)

// Lane is where the questions of a node work. It is safe for concurrent use.
type Lane struct {
	turns chan struct{}
	busy  func() bool
}

// New returns a lane with so many turns, at least one. busy says whether requests are served; nil: never.
func New(turns int, busy func() bool) *Lane {
	if busy == nil {
		busy = func() bool { return false }
	}
	return &Lane{turns: make(chan struct{}, max(turns, 1)), busy: busy}
}

// Turn is the work of one question. One goroutine uses it.
type Turn struct {
	lane  *Lane
	began time.Time // of the slice
	rest  time.Duration
	holds bool
}

// Enter waits for a turn, which must be left, or returns the error of ctx.
func (l *Lane) Enter(ctx context.Context) (*Turn, error) {
	select {
	case l.turns <- struct{}{}:
		return &Turn{lane: l, began: time.Now(), holds: true}, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Beside returns the pace of work that takes no turn: it may last for minutes, and nobody waits behind it.
func (l *Lane) Beside() *Turn { return &Turn{lane: l, began: time.Now()} }

// Leave ends the turn.
func (t *Turn) Leave() {
	if t.holds {
		t.holds = false
		<-t.lane.turns
	}
}

// Step is called at every few rows. It lets others come when a slice is over, and returns the error of ctx.
func (t *Turn) Step(ctx context.Context) error {
	worked := time.Since(t.began)
	if worked < slice {
		return nil
	}
	if t.lane.busy() {
		t.pause(ctx, worked)
	} else {
		runtime.Gosched()
	}
	t.began = time.Now()
	return context.Cause(ctx)
}

// pause rests after so much work.
func (t *Turn) pause(ctx context.Context, worked time.Duration) {
	d := worked
	if t.rest < enough {
		d = rests * worked
	}
	t.rest += d
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
