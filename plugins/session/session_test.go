package session_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/conclave-llm/conclave/plugins/session"
)

func TestPool_Each(t *testing.T) {
	t.Parallel()
	var p session.Pool[*int]
	if err := p.Each(func(*int) error { return nil }); !errors.Is(err, session.ErrNotRunning) || p.Running() {
		t.Errorf("an empty pool: %v", err)
	}
	procs := []*int{new(int), new(int), new(int)}
	for i, c := range procs {
		p.Set(i, c)
	}
	for range 30 {
		if err := p.Each(func(c *int) error { *c++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range procs {
		if *c != 10 {
			t.Errorf("process %d had %d of 30 questions, want 10", i, *c)
		}
	}
	asked := map[*int]bool{}
	err := p.Each(func(c *int) error { // those that are dead are not asked again
		if asked[c] {
			t.Error("a dead process is asked twice")
		}
		asked[c] = true
		return fmt.Errorf("it ended: %w", session.ErrNotRunning)
	})
	if len(asked) != 3 || !errors.Is(err, session.ErrNotRunning) {
		t.Errorf("asked %d, %v", len(asked), err)
	}
	asked = map[*int]bool{}
	other := errors.New("no")
	if err := p.Each(func(c *int) error { asked[c] = true; return other }); !errors.Is(err, other) || len(asked) != 1 {
		t.Errorf("an answer that is an error: asked %d, %v", len(asked), err)
	}
	if p.Drop(0, procs[1]) || p.Drop(0, procs[0]) || p.Drop(1, procs[1]) || !p.Drop(2, procs[2]) || p.Running() {
		t.Error("a process is dropped from its own place alone, and the last one leaves the pool empty")
	}
}

// The one with the fewest under way is asked.
func TestPool_Each_busy(t *testing.T) {
	t.Parallel()
	var p session.Pool[*int]
	a, b := new(int), new(int)
	p.Set(0, a)
	p.Set(1, b)
	took, goOn := make(chan *int), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = p.Each(func(c *int) error {
			took <- c
			<-goOn
			return nil
		})
	})
	busy := <-took
	for range 10 {
		if err := p.Each(func(c *int) error {
			if c == busy {
				t.Error("the busy process is asked")
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	close(goOn)
	wg.Wait()
}
