package callback_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/conclave-llm/conclave/plugins/callback"
)

// journal is a Source with one record at each position from first.
type journal struct {
	mu    sync.Mutex
	first uint64
	end   uint64    // position after the last record
	began time.Time // when position 0 began, each second one; zero: each begins when it is read
}

func (j *journal) Read(_ *callback.Subscription, from uint64, limit int) ([]callback.Record, uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if from < j.first {
		return nil, 0, &callback.Truncated{Oldest: j.first, Records: int64(j.first - from)}
	}
	var out []callback.Record
	for ; from < j.end && len(out) < limit; from++ {
		at := time.Now()
		if !j.began.IsZero() {
			at = j.began.Add(time.Duration(from) * time.Second)
		}
		out = append(out, callback.Record{Position: from, StartedAt: at})
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

// What was finished while a sink had never taken anything is told after another start, too.
func TestQueue_FirstMark(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "mark")
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, callback.QueueConfig{MarkPath: mark, Source: &journal{end: 8}, Start: 5})
		q.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		q := newQueue(t, callback.QueueConfig{MarkPath: mark, Source: &journal{end: 10}, Start: 10})
		q.Set(s, callback.Description{})
		synctest.Wait()
		q.Close()
		if got := s.positions(); !slices.Equal(got, from(5, 5)) {
			t.Errorf("got %v, want 5 to 9", got)
		}
	})
	if _, err := callback.NewQueue(callback.QueueConfig{MarkPath: filepath.Join(mark, "no-folder"), Source: &journal{}}); err == nil {
		t.Error("a queue whose mark cannot be kept is made")
	}
}

func TestQueue_Failures(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "mark")
	synctest.Test(t, func(t *testing.T) {
		m := callback.NewMetrics(nil)
		calls := 0
		s := &sink{take: func(n int) (int, error) {
			if calls++; calls <= 3 {
				return 0, errors.New("sink is down")
			}
			return n, nil
		}}
		q := newQueue(t, callback.QueueConfig{MarkPath: mark, Source: &journal{end: 10}, Metrics: m})
		start := time.Now()
		q.Set(s, callback.Description{})
		synctest.Wait()
		if got := q.Failing(); !strings.Contains(got, "sink is down") {
			t.Errorf("after a failure: %q", got)
		}
		for len(s.positions()) < 10 {
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if got := q.Failing(); got != "" {
			t.Errorf("after it was over: %q", got)
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

// A sink that takes some records each time is slow, not down: the rest comes at once, or after the shortest pause if
// the sink says that something is wrong.
func TestQueue_Slow(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		err      error
		failures float64
		most     time.Duration
	}{
		{name: "takes a few at a time"},
		{"fails after a few", errors.New("enough for now"), 49, 49 * 100 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			mark := filepath.Join(t.TempDir(), "mark")
			synctest.Test(t, func(t *testing.T) {
				m := callback.NewMetrics(nil)
				s := &sink{take: func(n int) (int, error) {
					if n > 20 {
						return 20, tt.err
					}
					return n, nil
				}}
				q := newQueue(t, callback.QueueConfig{MarkPath: mark, Source: &journal{end: 1000}, Metrics: m})
				start := time.Now()
				q.Set(s, callback.Description{})
				for len(s.positions()) < 1000 {
					time.Sleep(time.Millisecond)
				}
				q.Close()
				if took := time.Since(start); took > tt.most+time.Millisecond || !slices.Equal(s.positions(), from(0, 1000)) {
					t.Errorf("took %v, want %v at most, each once and in order", took, tt.most)
				}
				if got := testutil.ToFloat64(m.Failures.WithLabelValues("test")); got != tt.failures {
					t.Errorf("got %v failures, want %v", got, tt.failures)
				}
			})
		})
	}
}

// closing is a sink that is closed for a while, and counts.
type closing struct {
	mu     sync.Mutex
	open   bool
	next   uint64 // position that it waits for
	strays int    // others that came
}

func (*closing) Configure(context.Context, callback.Settings) (callback.Description, error) {
	return callback.Description{}, nil
}

func (s *closing) Deliver(_ context.Context, rs []callback.Record) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open {
		return 0, errors.New("sink is down")
	}
	for _, r := range rs {
		if r.Position != s.next {
			s.strays++
		}
		s.next = r.Position + 1
	}
	return len(rs), nil
}

func (s *closing) seen() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

// A sink that is down for an hour is told of all that was finished meanwhile, each once and in order, within a minute, though the
// node has started anew again and again.
func TestQueue_AnHourDown(t *testing.T) {
	t.Parallel()
	const hour = 3600
	rate := uint64(50)
	if os.Getenv("CONCLAVE_FULL") != "" {
		rate = 500
	}
	mark := filepath.Join(t.TempDir(), "mark")
	synctest.Test(t, func(t *testing.T) {
		j, s := &journal{}, &closing{}
		start := func() *callback.Queue {
			q := newQueue(t, callback.QueueConfig{MarkPath: mark, Source: j, Batch: 1000, Start: j.end})
			q.Set(s, callback.Description{})
			return q
		}
		q := start()
		for second := range hour {
			j.add(rate)
			q.Wake()
			time.Sleep(time.Second)
			if second%600 == 300 {
				q.Close()
				q = start()
			}
		}
		if s.seen() != 0 || q.Failing() == "" {
			t.Errorf("while it is down it has %d, and fails with %q", s.seen(), q.Failing())
		}
		s.mu.Lock()
		s.open = true
		s.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		q.Close()
		if s.seen() != hour*rate || s.strays != 0 || q.Mark() != hour*rate {
			t.Errorf("it has %d of %d, %d out of order; the mark is %d", s.seen(), hour*rate, s.strays, q.Mark())
		}
	})
}

// A plugin that lets deliveries pass their deadline is known; one that answers in time that its sink is down is none.
func TestQueue_Unanswered(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "mark")
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, callback.QueueConfig{MarkPath: mark, Source: &journal{end: 10}})
		defer q.Close()
		q.Set(&patient{sink: sink{take: func(int) (int, error) { return 0, errors.New("down") }}, after: 27 * time.Second}, callback.Description{})
		time.Sleep(5 * time.Minute)
		if n := q.Unanswered(); n != 0 {
			t.Errorf("%d deliveries are unanswered of a plugin that answers", n)
		}
		q.Set(&patient{after: 20 * time.Minute}, callback.Description{})
		time.Sleep(5 * time.Minute)
		if n := q.Unanswered(); n < 2 {
			t.Errorf("%d deliveries are unanswered of a plugin that hangs, want two at least", n)
		}
		q.Set(nil, callback.Description{})
		if n := q.Unanswered(); n != 0 {
			t.Errorf("%d deliveries are unanswered of no plugin", n)
		}
	})
}

// patient answers after a while, or when nobody waits any more.
type patient struct {
	sink
	after time.Duration
}

func (p *patient) Deliver(ctx context.Context, rs []callback.Record) (int, error) {
	select {
	case <-time.After(p.after):
		return p.sink.Deliver(ctx, rs)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Nothing is shown any more of a callback that is no more.
func TestQueue_Forget(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "mark")
	synctest.Test(t, func(t *testing.T) {
		r := prometheus.NewPedanticRegistry()
		m := callback.NewMetrics(r)
		s := &picky{bad: map[uint64]bool{3: true}}
		down := 0
		s.take = func(n int) (int, error) {
			if down++; down == 2 {
				return 0, errors.New("down")
			}
			return n, nil
		}
		q := newQueue(t, callback.QueueConfig{MarkPath: mark, Source: &journal{first: 2, end: 8}, Metrics: m})
		q.Set(s, callback.Description{})
		time.Sleep(time.Minute)
		q.Close()
		if n, err := testutil.GatherAndCount(r); n != 5 || err != nil {
			t.Errorf("%d metrics of a callback that has delivered, lost, failed and refused, want 5, %v", n, err)
		}
		q.Forget()
		if n, err := testutil.GatherAndCount(r); n != 0 || err != nil {
			t.Errorf("%d metrics are left of a callback that is no more, %v", n, err)
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

// A record that the sink refuses for good is put aside, what stands behind it arrives in order,
// and the record arrives when it is tried again.
func TestQueue_DeadLetters(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "mark")
	synctest.Test(t, func(t *testing.T) {
		m := callback.NewMetrics(nil)
		bad := map[uint64]bool{3: true, 4: true, 9: true}
		s := &picky{bad: bad}
		q := newQueue(t, callback.QueueConfig{MarkPath: mark, Source: &journal{end: 10}, Metrics: m})
		start := time.Now()
		q.Set(s, callback.Description{})
		synctest.Wait()
		if got := s.positions(); !slices.Equal(got, []uint64{0, 1, 2, 5, 6, 7, 8}) || time.Since(start) != 0 {
			t.Errorf("got %v after %v, want all but 3, 4 and 9 at once", got, time.Since(start))
		}
		dead := q.DeadLetters()
		if len(dead) != 3 || dead[0].Position != 3 || dead[2].Position != 9 || dead[0].Reason != "too odd" || q.Mark() != 10 {
			t.Errorf("got dead letters %+v, mark %d", dead, q.Mark())
		}
		if got := testutil.ToFloat64(m.Refused.WithLabelValues("test")); got != 3 {
			t.Errorf("counted %v refusals, want 3", got)
		}
		q.Close()
	})
	synctest.Test(t, func(t *testing.T) { // a new process knows them
		s := &picky{bad: map[uint64]bool{4: true}}
		q := newQueue(t, callback.QueueConfig{MarkPath: mark, Source: &journal{end: 10}})
		if n := q.Retry(nil); n != 3 {
			t.Errorf("%d are tried again, want 3", n)
		}
		q.Set(s, callback.Description{})
		time.Sleep(time.Minute)
		if got := s.positions(); !slices.Equal(got, []uint64{3, 9}) {
			t.Errorf("got %v, want 3 and 9", got)
		}
		if dead := q.DeadLetters(); len(dead) != 1 || dead[0].Position != 4 {
			t.Errorf("left are %+v, want 4", dead)
		}
		if n, err := q.Discard([]uint64{4}); n != 1 || err != nil || len(q.DeadLetters()) != 0 {
			t.Errorf("discarded %d, %v", n, err)
		}
		q.Close()
	})
}

// picky refuses some positions for good.
type picky struct {
	sink
	bad map[uint64]bool
}

func (p *picky) Deliver(ctx context.Context, rs []callback.Record) (int, error) {
	for i, r := range rs {
		if p.bad[r.Position] {
			n, _ := p.sink.Deliver(ctx, rs[:i])
			return n, &callback.Refused{Reason: "too odd"}
		}
	}
	return p.sink.Deliver(ctx, rs)
}

func TestQueue_DeadLetters_bounded(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "mark")
	synctest.Test(t, func(t *testing.T) {
		m := callback.NewMetrics(nil)
		bad := map[uint64]bool{}
		for i := range uint64(8) {
			bad[i] = true
		}
		q := newQueue(t, callback.QueueConfig{MarkPath: mark, Source: &journal{end: 8}, Metrics: m, MaxDead: 5})
		q.Set(&picky{bad: bad}, callback.Description{})
		synctest.Wait()
		q.Close()
		if dead := q.DeadLetters(); len(dead) != 5 || dead[0].Position != 3 {
			t.Errorf("kept %+v, want the newest five", dead)
		}
		if got := testutil.ToFloat64(m.Dropped.WithLabelValues("test")); got != 3 {
			t.Errorf("counted %v that were given up, want 3", got)
		}
	})
}

func TestQueue_Replay(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "mark")
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		j := &journal{first: 2, end: 30, began: began}
		s := &sink{}
		q := newQueue(t, callback.QueueConfig{MarkPath: mark, Source: j, Batch: 4, Start: 30})
		q.Set(s, callback.Description{})
		time.Sleep(time.Minute)
		q.Subscribe(callback.Subscription{}, &callback.Redelivery{ID: "one", From: began.Add(20 * time.Second)})
		time.Sleep(time.Minute)
		if got := s.positions(); !slices.Equal(got, from(20, 10)) {
			t.Errorf("got %v, want 20 to 29 again", got)
		}
		q.Close()
		q = newQueue(t, callback.QueueConfig{MarkPath: mark, Source: j, Redelivery: &callback.Redelivery{ID: "one", From: began}})
		q.Set(s, callback.Description{})
		time.Sleep(time.Minute)
		if got := len(s.positions()); got != 10 {
			t.Errorf("%d were told, want no more: each redelivery is done once", got)
		}
		q.Subscribe(callback.Subscription{}, &callback.Redelivery{ID: "two", From: began})
		time.Sleep(time.Minute)
		q.Close()
		if got := s.positions()[10:]; !slices.Equal(got, from(2, 28)) {
			t.Errorf("got %v, want all that the journal has", got)
		}
	})
}
