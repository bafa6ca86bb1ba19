package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/conclave-llm/conclave/resource"
)

// state is a model of what the replicated state does with the ticks of one node.
type state struct {
	mu    sync.Mutex
	epoch uint64
	seq   uint64
	to    uint64
	cost  map[string]resource.Money         // by key
	spent map[uint64]resource.Money         // by epoch that the charge is against
	seen  map[[2]uint64]Tick                // first form of each tick
	fail  func(t Tick) (before, after bool) // lose the tick, or its answer
	err   error                             // what the ticker must never do
}

func newState() *state {
	return &state{cost: map[string]resource.Money{}, spent: map[uint64]resource.Money{}, seen: map[[2]uint64]Tick{}}
}

func (s *state) open() (epoch, to uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	s.seq = 0
	return s.epoch, s.to
}

var errLost = errors.New("lost")

func (s *state) submit(_ context.Context, t Tick) (Ack, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, after := false, false
	if s.fail != nil {
		before, after = s.fail(t)
	}
	if before {
		return Ack{}, errLost
	}
	id := [2]uint64{t.Epoch, t.Seq}
	if first, ok := s.seen[id]; ok {
		if d := cmp.Diff(first, t); d != "" && s.err == nil {
			s.err = fmt.Errorf("tick changed:\n%s", d)
		}
	}
	if t.Seq <= s.seq+1 { // else the answer tells of a gap, and the tick may be numbered anew
		s.seen[id] = t
	}
	if t.Epoch == s.epoch && t.Seq == s.seq+1 {
		if (t.From != s.to || t.To < t.From) && s.err == nil {
			s.err = fmt.Errorf("tick covers (%d, %d], applied %d", t.From, t.To, s.to)
		}
		s.apply(t)
	}
	if after {
		return Ack{}, errLost
	}
	return Ack{Epoch: s.epoch, Seq: s.seq, To: s.to}, nil
}

func (s *state) apply(t Tick) {
	s.seq, s.to = t.Seq, t.To
	for _, d := range t.Spend {
		s.cost[d.KeyID] += d.Cost
	}
	against := t.OldEpoch
	if against == 0 {
		against = t.Epoch
	}
	for _, c := range t.Settle {
		s.spent[against] += c.Amount
	}
}

func (s *state) total() (m resource.Money) {
	for _, c := range s.cost {
		m += c
	}
	return m
}

func newTestTicker(j *Journal, s *state) *Ticker {
	return NewTicker(TickerConfig{Journal: j, NodeID: "n1", Submit: s.submit, Logger: slog.New(slog.DiscardHandler)})
}

func TestTicker_CarriesAll(t *testing.T) {
	t.Parallel()
	j := openJournal(t, testConfig(t.TempDir()))
	defer closeJournal(t, j)
	s := newState()
	settled := make(chan struct{}, 1)
	tk := newTestTicker(j, s)
	tk.cfg.Settled = func() { settled <- struct{}{} }
	tk.Start()
	defer tk.Stop()
	write(t, j, "before the epoch")
	epoch, to := s.open()
	if err := tk.Begin(epoch, to); err != nil {
		t.Fatal(err)
	}
	<-settled
	write(t, j, "after it")
	if _, err := j.Reserve(reservation("open")); err != nil {
		t.Fatal(err)
	}
	if err := tk.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.err != nil || s.total() != 80 || s.spent[1] != 160 || s.to != j.Last() {
		t.Errorf("total %v, against epoch 1 %v, to %d of %d: %v", s.total(), s.spent[1], s.to, j.Last(), s.err)
	}
}

func TestTicker_Cadence(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		j := openJournal(t, testConfig(dir))
		defer closeJournal(t, j)
		s := newState()
		var at []time.Duration
		begin := time.Now()
		s.fail = func(Tick) (bool, bool) { at = append(at, time.Since(begin)); return false, false }
		tk := newTestTicker(j, s)
		tk.Start()
		defer tk.Stop()
		epoch, to := s.open()
		if err := tk.Begin(epoch, to); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3050 * time.Millisecond)
		synctest.Wait()
		s.mu.Lock()
		idle := len(at)
		s.mu.Unlock()
		if idle < 3 || idle > 4 {
			t.Errorf("idle: ticks at %v, want one a second", at)
		}
		for range 10 {
			write(t, j, "x")
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		s.mu.Lock()
		busy := len(at) - idle
		s.mu.Unlock()
		if busy < 8 || busy > 11 {
			t.Errorf("busy: %d ticks in a second, want 10", busy)
		}
		tk.Ask()
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(at) != idle+busy+1 {
			t.Error("Ask did not make a tick at once")
		}
	})
}

// TestTicker_ExactlyOnce kills the process at any point, loses ticks and answers, and
// restores the state: what the state has in the end is what the journal has.
func TestTicker_ExactlyOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		cfg := testConfig(t.TempDir())
		cfg.SegmentBytes = 2 << 10
		s := newState()
		var want resource.Money
		j := openJournal(t, cfg)
		tk := newTestTicker(j, s)
		begun := false
		open := map[uint64]bool{}
		restart := func() {
			kill(t, j)
			want += resource.Money(len(open)) * 70 // charged the hold
			clear(open)
			j = openJournal(t, cfg)
			tk = newTestTicker(j, s)
			begun = false
		}
		step := func() {
			if err := j.syncAll(); err != nil {
				rt.Fatal(err)
			}
			if tick, round := tk.next(true); tick != nil {
				tk.submit(tick, round)
			}
		}
		s.fail = func(Tick) (bool, bool) {
			return rapid.IntRange(0, 3).Draw(rt, "lose tick") == 0, rapid.IntRange(0, 3).Draw(rt, "lose answer") == 0
		}
		rt.Repeat(map[string]func(*rapid.T){
			"reserve": func(rt *rapid.T) {
				n, err := j.Reserve(reservation("r"))
				if err != nil {
					rt.Fatal(err)
				}
				open[n] = true
			},
			"settle": func(rt *rapid.T) {
				for n := range open {
					if err := j.Settle(n, record("r")); err != nil {
						rt.Fatal(err)
					}
					delete(open, n)
					want += 40
					return
				}
			},
			"tick": func(*rapid.T) { step() },
			"begin": func(rt *rapid.T) {
				if begun {
					return
				}
				begun = true
				if err := tk.Begin(s.open()); err != nil {
					rt.Fatal(err)
				}
			},
			"kill": func(*rapid.T) { restart() },
			"restore": func(rt *rapid.T) { // a node takes a new epoch after a restore
				if err := tk.Begin(s.open()); err != nil {
					rt.Fatal(err)
				}
				begun = true
			},
		})
		s.fail = nil
		restart()
		if err := tk.Begin(s.open()); err != nil {
			rt.Fatal(err)
		}
		for range 20 {
			step()
		}
		if s.err != nil {
			rt.Fatal(s.err)
		}
		if s.total() != want || s.to != j.Synced() {
			rt.Fatalf("state has %d to %d, journal %d to %d", s.total(), s.to, want, j.Synced())
		}
		kill(t, j)
	})
}

func TestTicker_StateWentBack(t *testing.T) {
	t.Parallel()
	j := openJournal(t, testConfig(t.TempDir()))
	defer closeJournal(t, j)
	s := newState()
	tk := newTestTicker(j, s)
	tk.Start()
	defer tk.Stop()
	if err := tk.Begin(s.open()); err != nil {
		t.Fatal(err)
	}
	write(t, j, "a")
	if err := tk.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	old := newState() // the same epoch, but before everything
	old.epoch = s.epoch
	s.mu.Lock()
	s.seq, s.to, s.cost, s.spent, s.seen = 0, 0, old.cost, old.spent, old.seen
	s.mu.Unlock()
	write(t, j, "b")
	if err := tk.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := tk.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total() != 80 || s.err != nil {
		t.Errorf("total %d after the state went back, want 80: %v", s.total(), s.err)
	}
}

func TestTicker_Superseded(t *testing.T) {
	t.Parallel()
	j := openJournal(t, testConfig(t.TempDir()))
	defer closeJournal(t, j)
	s := newState()
	told := make(chan struct{}, 1)
	tk := newTestTicker(j, s)
	tk.cfg.Superseded = func() { told <- struct{}{} }
	tk.Start()
	defer tk.Stop()
	if err := tk.Begin(s.open()); err != nil {
		t.Fatal(err)
	}
	s.open()
	tk.Ask()
	<-told
}

func TestTicker_KeepsJournal(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t.TempDir())
	cfg.SegmentBytes, cfg.MaxBytes = 2<<10, 1
	j := openJournal(t, cfg)
	defer closeJournal(t, j)
	s := newState()
	tk := newTestTicker(j, s)
	if err := tk.Begin(s.open()); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		write(t, j, "a")
	}
	if err := j.Trim(); err != nil {
		t.Fatal(err)
	}
	if got := len(readAll(t, j)); got != 50 {
		t.Errorf("%d of 50 records are left before their tick", got)
	}
	tk.Start()
	defer tk.Stop()
	if err := tk.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := j.Trim(); err != nil {
		t.Fatal(err)
	}
	if got := len(readAll(t, j)); got > 20 {
		t.Errorf("%d records are left after their tick", got)
	}
}
