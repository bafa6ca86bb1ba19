package flight

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

func TestFlight_runsAfterTheCallerAsked(t *testing.T) {
	t.Parallel()
	var now, runs atomic.Int64
	f := Flight[int64]{F: func() (int64, error) { runs.Add(1); return now.Load(), nil }}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				asked := now.Add(1)
				got, err := f.Do(t.Context())
				if err != nil || got < asked {
					t.Errorf("do = %d, %v, want at least %d", got, err, asked)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d runs for %d questions", runs.Load(), now.Load())
}

func TestFlight_leavesWithTheContext(t *testing.T) {
	t.Parallel()
	block := make(chan struct{})
	f := Flight[int]{F: func() (int, error) { <-block; return 7, nil }}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Do(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
	close(block)
	if got, err := f.Do(t.Context()); got != 7 || err != nil {
		t.Errorf("do = %d, %v, want 7", got, err)
	}
}
