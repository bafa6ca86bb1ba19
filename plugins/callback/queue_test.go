package callback_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/conclave-llm/conclave/plugins/callback"
)

// journal is a Source with one record at each position from first.
type journal struct {
	mu    sync.Mutex
	first uint64
	end   uint64 // position after the last record
}

func (j *journal) Read(from uint64, limit int) ([]callback.Record, uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if from < j.first {
		return nil, 0, &callback.Truncated{Oldest: j.first, Records: int64(j.first - from)}
	}
	var out []callback.Record
	for ; from < j.end && len(out) < limit; from++ {
		out = append(out, callback.Record{Position: from, StartedAt: time.Now()})
	}
	return out, from, nil
}

func (j *journal) add(n uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.end += n
}

// sink is a Plugin that keeps positions.
type sink struct {
	mu   sync.Mutex
	got  []uint64
	take func(n int) (int, error) // nil: all
}

func (s *sink) Configure(context.Context, callback.Settings) (callback.Description, error) {
	return callback.Description{}, nil
}

func (s *sink) Deliver(_ context.Context, rs []callback.Record) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := len(rs), error(nil)
	if s.take != nil {
		n, err = s.take(len(rs))
	}
	for _, r := range rs[:n] {
		s.got = append(s.got, r.Position)
	}
	return n, err
}

func (s *sink) positions() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func from(first, n uint64) []uint64 {
	var out []uint64
	for i := range n {
		out = append(out, first+i)
	}
	return out
}

func newQueue(t *testing.T, cfg callback.QueueConfig) *callback.Queue {
	t.Helper()
	cfg.Name = "test"
	q, err := callback.NewQueue(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestQueue_Delivers(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "mark")
	synctest.Test(t, func(t *testing.T) {
		j, s := &journal{}, &sink{}
		j.add(25)
		q := newQueue(t, callback.QueueConfig{MarkPath: mark, Source: j, Batch: 10})
		time.Sleep(time.Minute)
		if len(s.positions()) != 0 {
			t.Error("delivered without a plugin")
		}
		q.Set(s, callback.Description{MaxBatch: 7})
		synctest.Wait()
		if got := s.positions(); !slices.Equal(got, from(0, 25)) {
			t.Errorf("got %v, want 0 to 24 in order", got)
		}
		j.add(5)
		q.Wake()
		synctest.Wait()
		q.Close()
		if got := s.positions(); !slices.Equal(got, from(0, 30)) || q.Mark() != 30 {
			t.Errorf("got %v and mark %d, want 0 to 29 and 30", got, q.Mark())
		}
	})
	synctest.Test(t, func(t *testing.T) { // a new process goes on from the mark
		j, s := &journal{end: 40}, &sink{}
		q := newQueue(t, callback.QueueConfig{MarkPath: mark, Source: j, Start: 99})
		q.Set(s, callback.Description{})
		synctest.Wait()
		q.Close()
		if got := s.positions(); !slices.Equal(got, from(30, 10)) {
			t.Errorf("got %v, want 30 to 39", got)
		}
	})
}

func TestQueue_Failures(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "mark")
	synctest.Test(t, func(t *testing.T) {
		m := callback.NewMetrics(nil)
		calls := 0
		s := &sink{take: func(n int) (int, error) {
			if calls++; calls <= 3 {
				return 2, errors.New("sink is down") // two are taken nevertheless
			}
			return n, nil
		}}
		q := newQueue(t, callback.QueueConfig{MarkPath: mark, Source: &journal{end: 10}, Metrics: m})
		start := time.Now()
		q.Set(s, callback.Description{})
		for len(s.positions()) < 10 {
			time.Sleep(time.Millisecond)
		}
		q.Close()
		if got := s.positions(); !slices.Equal(got, from(0, 10)) {
			t.Errorf("got %v, want each once and in order", got)
		}
		if took := time.Since(start); took < 500*time.Millisecond || took > 701*time.Millisecond {
			t.Errorf("three failures delay by %v, want 100+200+400 ms less a quarter at most", took)
		}
		if got := testutil.ToFloat64(m.Failures.WithLabelValues("test")); got != 3 {
			t.Errorf("got %v failures, want 3", got)
		}
		if got := testutil.ToFloat64(m.Lag.WithLabelValues("test")); got != 0 {
			t.Errorf("got lag %v after delivery, want 0", got)
		}
	})
}

func TestQueue_CountsDrops(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "mark")
	synctest.Test(t, func(t *testing.T) {
		m := callback.NewMetrics(nil)
		s := &sink{}
		q := newQueue(t, callback.QueueConfig{MarkPath: mark, Source: &journal{first: 12, end: 15}, Metrics: m})
		q.Set(s, callback.Description{})
		synctest.Wait()
		q.Close()
		if got := s.positions(); !slices.Equal(got, from(12, 3)) {
			t.Errorf("got %v, want 12 to 14", got)
		}
		if got := testutil.ToFloat64(m.Dropped.WithLabelValues("test")); got != 12 {
			t.Errorf("got %v dropped, want 12", got)
		}
	})
}

func TestQueue_DamagedMark(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "mark")
	for _, content := range []string{"", "x", "5 00000000\n", "99999999999999999999 0\n"} {
		if err := os.WriteFile(mark, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		q := newQueue(t, callback.QueueConfig{MarkPath: mark, Source: &journal{}, Start: 7})
		if q.Mark() != 0 {
			t.Errorf("mark %q: begins at %d, want at 0: better twice than never", content, q.Mark())
		}
		q.Close()
	}
}
