package tick_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/tick"
	"github.com/conclave-llm/conclave/resource"
)

// told counts log records by level.
type told struct {
	slog.Handler
	mu sync.Mutex
	of map[slog.Level]int
}

func (h *told) Enabled(context.Context, slog.Level) bool { return true }

func (h *told) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h *told) Handle(_ context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of == nil {
		h.of = map[slog.Level]int{}
	}
	h.of[r.Level]++
	return nil
}

func (h *told) count(l slog.Level) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.of[l]
}

const poison = "pöison"

func isPoison(d ledger.SpendDelta) bool { return d.Customer == poison }

// unfit refuses, as no log takes them, ticks that are so.
func (s *state) unfit(is func(t tick.Tick) bool) func(context.Context, tick.Tick) (tick.Ack, error) {
	return func(ctx context.Context, t tick.Tick) (tick.Ack, error) {
		if is(t) {
			return tick.Ack{}, fmt.Errorf("encode: %w", tick.ErrUnfit)
		}
		return s.submit(ctx, t)
	}
}

// TestTicker_Unfit has the log refuse ticks for good: all that was spent reaches the state, once, and what is
// not at fault under its names.
func TestTicker_Unfit(t *testing.T) {
	t.Parallel()
	hasPoison := func(t tick.Tick) bool { return slices.ContainsFunc(t.Spend, isPoison) }
	for _, tt := range []struct {
		name  string
		is    func(t tick.Tick) bool
		bared int // records
	}{
		{"one record among many", hasPoison, 2},
		{"more than some are too many", func(t tick.Tick) bool { return len(t.Spend)+len(t.Settle) > 300 }, 0},
		{"both", func(t tick.Tick) bool { return hasPoison(t) || len(t.Spend) > 1000 }, 2},
		{"what it wants", func(t tick.Tick) bool { return len(t.Want) > 0 }, 0},
	} {
		for _, before := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, before the epoch %t", tt.name, before), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				synctest.Test(t, func(t *testing.T) {
					j := openJournal(t, testConfig(dir))
					defer closeJournal(t, j)
					s, log, reg := newState(), &told{}, prometheus.NewRegistry()
					names := map[string]int{}
					cfg := configOf(j, s)
					cfg.Logger, cfg.Registerer = slog.New(log), reg
					cfg.Submit = s.unfit(func(t tick.Tick) bool {
						if tt.is(t) {
							return true
						}
						for _, d := range t.Spend {
							names[d.Customer]++
						}
						return false
					})
					var asked time.Time
					cfg.Demand = func() ([]tick.Want, []ledger.AccountCharge) {
						if time.Since(asked) < time.Second {
							return nil, nil
						}
						asked = time.Now()
						return []tick.Want{{Account: "key/key_1/day", Amount: 1}}, nil
					}
					tk := tick.New(cfg)
					spend := func() {
						for i := range 2500 {
							r := record("r")
							r.CustomerID = fmt.Sprint("c", i)
							if i == 40 || i == 2100 {
								r.CustomerID = poison
								r.Time += resource.Time(i) * 24 * 3600 * 1e9 // a delta of its own
							}
							if err := j.Settle(0, r); err != nil {
								t.Fatal(err)
							}
						}
					}
					if before {
						spend()
					}
					if err := tk.Begin(s.open()); err != nil {
						t.Fatal(err)
					}
					if !before {
						spend()
					}
					tk.Start()
					defer tk.Stop()
					if err := tk.Flush(t.Context()); err != nil {
						t.Fatal(err)
					}
					if s.err != nil || s.total() != 2500*40 || s.spent[0]+s.spent[1] != 2500*80 || s.to != j.Last() {
						t.Errorf("told %v, settled %v to %d of %d: %v", s.total(), s.spent, s.to, j.Last(), s.err)
					}
					if names["c39"] != 1 || names["c2499"] != 1 || names[""] != tt.bared || names[poison] != 2-tt.bared {
						t.Errorf("under their names: %d, %d; without: %d", names["c39"], names["c2499"], names[""])
					}
					want := fmt.Sprintf("# HELP conclave_ledger_bared_records_total Records that the replicated state did not take as they are: their cost counts, without tags and foreign names.\n# TYPE conclave_ledger_bared_records_total counter\nconclave_ledger_bared_records_total %d\n", tt.bared)
					if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "conclave_ledger_bared_records_total"); err != nil {
						t.Error(err)
					}
					if log.count(slog.LevelError) == 0 {
						t.Error("nobody is told")
					}
				})
			})
		}
	}
}

// TestTicker_UnfitDemand keeps what the node gives back for the next tick, if it was not what was unfit.
func TestTicker_UnfitDemand(t *testing.T) {
	t.Parallel()
	j := openJournal(t, testConfig(t.TempDir()))
	defer closeJournal(t, j)
	s := newState()
	var gave resource.Money
	cfg := configOf(j, s)
	cfg.Submit = s.unfit(func(t tick.Tick) bool {
		if slices.ContainsFunc(t.Spend, isPoison) {
			return true
		}
		for _, c := range t.Release {
			gave += c.Amount
		}
		return false
	})
	gives := []ledger.AccountCharge{{Account: "key/key_1/day", Amount: 7}}
	cfg.Demand = func() ([]tick.Want, []ledger.AccountCharge) {
		g := gives
		gives = nil
		return nil, g
	}
	tk := tick.New(cfg)
	if err := tk.Begin(s.open()); err != nil {
		t.Fatal(err)
	}
	r := record("r")
	r.CustomerID = poison
	if err := j.Settle(0, r); err != nil {
		t.Fatal(err)
	}
	tk.Start()
	defer tk.Stop()
	if err := tk.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if gave != 7 || s.total() != 40 {
		t.Errorf("gave back %d and told %d, want 7 and 40", gave, s.total())
	}
}

// TestTicker_Bounds holds that ticks fit into the log: the longest names there are, live and read again, and the
// demand of all budgets at once.
func TestTicker_Bounds(t *testing.T) {
	t.Parallel()
	const records, most = 60, 2 << 20
	for _, before := range []bool{true, false} {
		t.Run(fmt.Sprintf("before the epoch %t", before), func(t *testing.T) {
			t.Parallel()
			j := openJournal(t, testConfig(t.TempDir()))
			defer closeJournal(t, j)
			s := newState()
			cfg := configOf(j, s)
			wants, gives := 0, 0
			cfg.Submit = func(ctx context.Context, tk tick.Tick) (tick.Ack, error) {
				size := 0
				for _, d := range tk.Spend {
					size += len(strings.Join(d.Tags, "")) + len(d.Customer)
				}
				if size > most || len(tk.Want) > 2000 || len(tk.Release) > 2000 {
					t.Errorf("tick of %d bytes, %d wants and %d releases", size, len(tk.Want), len(tk.Release))
				}
				wants, gives = wants+len(tk.Want), gives+len(tk.Release)
				return s.submit(ctx, tk)
			}
			cfg.Demand = func() ([]tick.Want, []ledger.AccountCharge) {
				if gives > 0 {
					return nil, nil
				}
				return make([]tick.Want, 5000), make([]ledger.AccountCharge, 4500)
			}
			tk := tick.New(cfg)
			spend := func() {
				for i := range records {
					r := record("r")
					for k := range 256 {
						r.Tags = append(r.Tags, fmt.Sprintf("%03d-%03d", i, k)+strings.Repeat("t", 600))
					}
					if err := j.Settle(0, r); err != nil {
						t.Fatal(err)
					}
				}
			}
			if before {
				spend()
			}
			if err := tk.Begin(s.open()); err != nil {
				t.Fatal(err)
			}
			if !before {
				spend()
			}
			tk.Start()
			defer tk.Stop()
			if err := tk.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			if s.total() != records*40 || wants != 5000 || gives != 4500 {
				t.Errorf("told %d, wants %d, gives %d", s.total(), wants, gives)
			}
		})
	}
}

// TestTicker_Complains tells once a minute that ticks do not arrive, whatever the reason.
func TestTicker_Complains(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		j := openJournal(t, testConfig(dir))
		defer closeJournal(t, j)
		s, log := newState(), &told{}
		cfg := configOf(j, s)
		cfg.Logger = slog.New(log)
		var lost bool
		cfg.Submit = func(ctx context.Context, tk tick.Tick) (tick.Ack, error) {
			if lost {
				return tick.Ack{}, errors.New("refused")
			}
			return s.submit(ctx, tk)
		}
		tk := tick.New(cfg)
		if err := tk.Begin(s.open()); err != nil {
			t.Fatal(err)
		}
		lost = true
		tk.Start()
		defer tk.Stop()
		time.Sleep(3*time.Minute + 30*time.Second)
		synctest.Wait()
		if got := log.count(slog.LevelWarn); got != 3 {
			t.Errorf("told %d times in three minutes and a half", got)
		}
	})
}
