package guardrail_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
)

// TestCurrent: who comes while guardrails are changed waits for the change that there was when he came.
func TestCurrent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := new(guardrail.Current)
		if err := c.Wait(t.Context()); err != nil {
			t.Fatalf("without a change: %v", err)
		}
		c.Expect(7)
		c.Expect(5) // of before
		done := make(chan error, 2)
		for range 2 {
			go func() { done <- c.Wait(t.Context()) }()
		}
		synctest.Wait()
		c.Reached(6)
		synctest.Wait()
		if len(done) != 0 {
			t.Fatal("a request does not wait for the newest change")
		}
		c.Expect(9) // concerns those who come later
		c.Reached(7)
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		began := time.Now()
		err := c.Wait(t.Context())
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Unavailable || time.Since(began) > time.Minute {
			t.Errorf("a change that does not come: %v after %s", err, time.Since(began))
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Wait(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("a client that left: %v", err)
		}
	})
}

// TestCurrent_Allocs is not parallel: it counts what all do.
func TestCurrent_Allocs(t *testing.T) {
	c := new(guardrail.Current)
	c.Expect(1)
	c.Reached(c.Expected())
	if n := testing.AllocsPerRun(100, func() { _ = c.Wait(t.Context()) }); n != 0 {
		t.Errorf("%v allocations of a request that need not wait", n)
	}
}
