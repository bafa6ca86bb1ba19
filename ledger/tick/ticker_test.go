package tick_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/tick"
	"github.com/conclave-llm/conclave/resource"
)

// state is a model of what the replicated state does with the ticks of one node.
type state struct {
	mu    sync.Mutex
	epoch uint64
	seq   uint64
	to    uint64
	cost  map[string]resource.Money              // by key
	spent map[uint64]resource.Money              // by epoch that the charge is against
	seen  map[[2]uint64]tick.Tick                // first form of each tick
	fail  func(t tick.Tick) (before, after bool) // lose the tick, or its answer
	err   error                                  // what the ticker must never do
}

func newState() *state {
	return &state{cost: map[string]resource.Money{}, spent: map[uint64]resource.Money{}, seen: map[[2]uint64]tick.Tick{}}
}

func (s *state) open() (epoch, to uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	s.seq = 0
	return s.epoch, s.to
}

var errLost = errors.New("lost")

func (s *state) submit(_ context.Context, t tick.Tick) (tick.Ack, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, after := false, false
	if s.fail != nil {
		before, after = s.fail(t)
	}
	if before {
		return tick.Ack{}, errLost
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
	if t.Epoch == s.epoch && t.Seq == s.seq+1 && t.From == s.to {
		if t.To < t.From && s.err == nil {
			s.err = fmt.Errorf("tick covers (%d, %d]", t.From, t.To)
		}
		s.apply(t)
	}
	if after {
		return tick.Ack{}, errLost
	}
	return tick.Ack{Epoch: s.epoch, Seq: s.seq, To: s.to}, nil
}

func (s *state) apply(t tick.Tick) {
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

func newTicker(j *ledger.Journal, s *state) *tick.Ticker {
	return tick.New(configOf(j, s))
}

func configOf(j *ledger.Journal, s *state) tick.Config {
	return tick.Config{Journal: j, NodeID: "n1", Submit: s.submit, Logger: slog.New(slog.DiscardHandler)}
}

func testConfig(dir string) ledger.Config {
	return ledger.Config{Dir: dir, NodeID: "n1", BootID: "run-1", Logger: slog.New(slog.DiscardHandler)}
}

func openJournal(t testing.TB, cfg ledger.Config) *ledger.Journal {
	t.Helper()
	j, err := ledger.OpenJournal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func closeJournal(t testing.TB, j *ledger.Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// kill gives the journal's files as kill -9 leaves them.
func kill(t testing.TB, j *ledger.Journal, cfg ledger.Config) ledger.Config {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(cfg.Dir)); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
	cfg.Dir = dir
	return cfg
}

func reservation(id string) *ledger.Reservation {
	return &ledger.Reservation{
		RequestID: id, Time: 5, KeyID: "key_1", TeamID: "team_1", Model: "demo", Hold: 70,
		Holds: []ledger.AccountCharge{{Account: "key/key_1/day", Start: 3, Amount: 70}},
	}
}

func record(id string) *ledger.Record {
	return &ledger.Record{
		RequestID: id, Time: 7, KeyID: "key_1", TeamID: "team_1", Model: "demo", Status: 200, Cost: 40, Hold: 70, Node: "n1",
		Charges: []ledger.AccountCharge{{Account: "key/key_1/day", Start: 3, Amount: 40}, {Account: "team/team_1/total", Amount: 40}},
	}
}

func write(t testing.TB, j *ledger.Journal, id string) {
	t.Helper()
	n, err := j.Reserve(reservation(id))
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Settle(n, record(id)); err != nil {
		t.Fatal(err)
	}
}

// count reads the journal from its beginning.
func count(t testing.TB, j *ledger.Journal) (n int) {
	t.Helper()
	for after := uint64(0); ; {
		rs, next, err := j.ReadFrom(after, 7)
		if err != nil {
			t.Fatal(err)
		}
		n += len(rs)
		if next == after {
			return n
		}
		after = next
	}
}

func TestTicker_CarriesAll(t *testing.T) {
	t.Parallel()
	j := openJournal(t, testConfig(t.TempDir()))
	defer closeJournal(t, j)
	s := newState()
	settled := make(chan struct{}, 1)
	cfg := configOf(j, s)
	cfg.Settled = func(uint64) { settled <- struct{}{} }
	tk := tick.New(cfg)
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
		s.fail = func(tick.Tick) (bool, bool) { at = append(at, time.Since(begin)); return false, false }
		tk := newTicker(j, s)
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

// TestTicker_ExactlyOnce kills the process at any point, loses ticks and answers, refuses some for good, and
// restores the state: what the state has in the end is what the journal has.
func TestTicker_ExactlyOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		cfg := testConfig(t.TempDir())
		cfg.SegmentBytes = 2 << 10
		s := newState()
		var want resource.Money
		newTicker := func(j *ledger.Journal, s *state) *tick.Ticker {
			conf := configOf(j, s)
			conf.Submit = s.unfit(func(t tick.Tick) bool { return slices.ContainsFunc(t.Spend, isPoison) })
			return tick.New(conf)
		}
		j := openJournal(t, cfg)
		tk := newTicker(j, s)
		begun := false
		open := map[uint64]bool{}
		restart := func() {
			cfg = kill(t, j, cfg)
			want += resource.Money(len(open)) * 70 // charged the hold
			clear(open)
			j = openJournal(t, cfg)
			tk = newTicker(j, s)
			begun = false
		}
		step := func() {
			if err := j.SyncTo(j.Last()); err != nil {
				rt.Fatal(err)
			}
			tk.Step()
		}
		s.fail = func(tick.Tick) (bool, bool) {
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
					r := record("r")
					if rapid.IntRange(0, 3).Draw(rt, "unfit") == 0 {
						r.CustomerID = poison
					}
					if err := j.Settle(n, r); err != nil {
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
		for range 200 { // an unfit record takes some
			step()
		}
		if s.err != nil {
			rt.Fatal(s.err)
		}
		if s.total() != want || s.to != j.Synced() {
			rt.Fatalf("state has %d to %d, journal %d to %d", s.total(), s.to, want, j.Synced())
		}
		closeJournal(t, j)
	})
}

func TestTicker_StateWentBack(t *testing.T) {
	t.Parallel()
	j := openJournal(t, testConfig(t.TempDir()))
	defer closeJournal(t, j)
	s := newState()
	tk := newTicker(j, s)
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

// TestTicker_OtherTicks has the state know ticks of the epoch that this ticker never sent, as after a restore into which an
// answer of the state before fell: what it lacks is told, and nothing twice.
func TestTicker_OtherTicks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		seq  uint64 // that the state has already
		part bool   // with the first of the records
	}{{"a number is taken", 1, false}, {"a number and some records are taken", 1, true}, {"some records are", 0, true}, {"many numbers are", 5, true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			j := openJournal(t, testConfig(t.TempDir()))
			defer closeJournal(t, j)
			write(t, j, "first")
			first := j.Last()
			write(t, j, "second")
			s := newState()
			tk := newTicker(j, s)
			tk.Start()
			defer tk.Stop()
			epoch, to := s.open()
			want := resource.Money(80)
			s.mu.Lock()
			if s.seq = tt.seq; tt.part {
				s.to, want = first, 40
			}
			s.mu.Unlock()
			if err := tk.Begin(epoch, to); err != nil {
				t.Fatal(err)
			}
			if err := tk.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.total() != want || s.to != j.Last() {
				t.Errorf("told %v up to %d, want %v up to %d", s.total(), s.to, want, j.Last())
			}
		})
	}
}

func TestTicker_Superseded(t *testing.T) {
	t.Parallel()
	j := openJournal(t, testConfig(t.TempDir()))
	defer closeJournal(t, j)
	s := newState()
	told := make(chan struct{}, 1)
	cfg := configOf(j, s)
	cfg.Superseded = func() { told <- struct{}{} }
	tk := tick.New(cfg)
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
	tk := newTicker(j, s)
	if err := tk.Begin(s.open()); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		write(t, j, "a")
	}
	if err := j.Trim(); err != nil {
		t.Fatal(err)
	}
	if got := count(t, j); got != 50 {
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
	if got := count(t, j); got > 20 {
		t.Errorf("%d records are left after their tick", got)
	}
}

// TestTicker_FlushEnds waits on one processor, where the goroutine that ticks is ahead of the one that waits: the next
// tick is under way whenever that looks.
func TestTicker_FlushEnds(t *testing.T) { // not parallel: the number of processors is the program's
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	j := openJournal(t, testConfig(t.TempDir()))
	defer closeJournal(t, j)
	s := newState()
	cfg := configOf(j, s)
	ticks := 0
	cfg.Submit = func(ctx context.Context, tk tick.Tick) (tick.Ack, error) {
		ticks++
		runtime.Gosched() // as a command that is under way
		return s.submit(ctx, tk)
	}
	tk := tick.New(cfg)
	tk.Start()
	defer tk.Stop()
	if err := tk.Begin(s.open()); err != nil {
		t.Fatal(err)
	}
	tk.Ask()
	runtime.Gosched()
	if err := tk.Flush(t.Context()); err != nil || ticks > 3 {
		t.Errorf("got %v after %d ticks", err, ticks)
	}
}
