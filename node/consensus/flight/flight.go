// Package flight shares the result of a question among all who ask it meanwhile.
package flight

import (
	"context"
	"sync"
)

// Flight runs F for many callers at once: each caller gets the result of a run that began
// after it asked, and there is never more than one run.
type Flight[T any] struct {
	F func() (T, error) // bounds itself; set before the first Do

	mu      sync.Mutex // guards running, next
	running bool
	next    *landing[T]
}

// landing is the result of one run.
type landing[T any] struct {
	done chan struct{}
	val  T
	err  error
}

// Do waits for a run that begins after now, or for the end of ctx.
func (f *Flight[T]) Do(ctx context.Context) (T, error) {
	f.mu.Lock()
	if f.next == nil {
		f.next = &landing[T]{done: make(chan struct{})}
	}
	l := f.next
	if !f.running {
		f.running = true
		go f.run() // ends when nobody waits for another run; F bounds each
	}
	f.mu.Unlock()
	select {
	case <-l.done:
		return l.val, l.err
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
}

// run goes on until nobody asked during the last run.
func (f *Flight[T]) run() {
	for {
		f.mu.Lock()
		l := f.next
		f.next = nil
		if l == nil {
			f.running = false
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		l.val, l.err = f.F()
		close(l.done)
	}
}
