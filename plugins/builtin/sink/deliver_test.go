package sink_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conclave-llm/conclave/plugins/builtin/sink"
	"github.com/conclave-llm/conclave/plugins/builtin/sink/sinktest"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// server takes a tenth of a second for each request.
type server struct {
	mu  sync.Mutex
	got []uint64         // positions, as they came
	bad map[uint64]error // what is answered to records of these positions
}

func (s *server) send(ctx context.Context, records []sdk.Record) (int, error) {
	select {
	case <-time.After(100 * time.Millisecond):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range records {
		if err := s.bad[records[i].Position]; err != nil {
			return i, err
		}
		s.got = append(s.got, records[i].Position)
	}
	return len(records), nil
}

// A server that takes one record a request gets many a second, and what is told of it are the first ones.
func TestDeliver_oneByOne(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	for _, tt := range []struct {
		name    string
		bad     map[uint64]error
		want    int
		refused bool
		err     error
		most    time.Duration
	}{
		{name: "all", want: 500, most: 3200 * time.Millisecond},
		{name: "one fails", bad: map[uint64]error{101: down}, want: 100, err: down, most: 800 * time.Millisecond},
		{name: "the first of two counts", bad: map[uint64]error{12: down, 5: &sink.Rejected{Status: 400}}, want: 4, refused: true, most: 200 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, start := &server{bad: tt.bad}, time.Now()
				n, err := sink.Deliver(t.Context(), sinktest.Records(500), 1, s.send)
				if _, refused := errors.AsType[*sdk.CallbackRefused](err); n != tt.want || refused != tt.refused || !tt.refused && !errors.Is(err, tt.err) {
					t.Errorf("delivered %d, %v, want %d and %v", n, err, tt.want, tt.err)
				}
				if took := time.Since(start); took > tt.most {
					t.Errorf("took %v, want %v", took, tt.most)
				}
				slices.Sort(s.got)
				for i := range n {
					if s.got[i] != uint64(i+1) {
						t.Fatalf("said that %d are delivered, and %d is not", n, i+1)
					}
				}
			})
		})
	}
}

// When the time is over, what was delivered until then is told.
func TestDeliver_timeIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1050*time.Millisecond)
		defer cancel()
		if n, err := sink.Deliver(ctx, sinktest.Records(500), 1, (&server{}).send); n != 160 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("delivered %d, %v, want 160: ten rounds of 16", n, err)
		}
	})
}

// Batches of many go one after the other, so that they are there in order.
func TestDeliver_inOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, start := &server{}, time.Now()
		if n, err := sink.Deliver(t.Context(), sinktest.Records(500), 100, s.send); n != 500 || err != nil {
			t.Errorf("delivered %d, %v", n, err)
		}
		if took := time.Since(start); took != 500*time.Millisecond || !slices.IsSorted(s.got) {
			t.Errorf("took %v, in order: %v, want five requests, one after the other", took, slices.IsSorted(s.got))
		}
		s.got = nil
		start = time.Now()
		if n, err := sink.Unordered(t.Context(), sinktest.Records(500), 10, s.send); n != 500 || err != nil || time.Since(start) > 400*time.Millisecond {
			t.Errorf("where order does not matter: delivered %d, %v, in %v, want all in 0.4 s", n, err, time.Since(start))
		}
	})
}
