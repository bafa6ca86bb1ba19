package torture

import (
	"context"
	"errors"
	"flag"
	"runtime/debug"
	"strings"
	"testing"
)

var (
	schedules = flag.Uint64("schedules", 10_000, "how many random schedules TestSchedules runs")
	oneSeed   = flag.Uint64("seed", 0, "the only schedule that TestSchedules runs, with its steps; 0: all")
)

// TestSchedules runs ten thousand random schedules.
func TestSchedules(t *testing.T) {
	t.Parallel()
	cfg := Config{Dir: t.TempDir(), Schedules: *schedules}
	if testing.Short() {
		cfg.Schedules /= 10
	}
	if *oneSeed != 0 {
		cfg.First, cfg.Schedules, cfg.Steps = *oneSeed, 1, func(s string) { t.Log(s) }
	}
	defer debug.SetGCPercent(debug.SetGCPercent(1600))
	got, err := Run(t.Context(), cfg)
	if b, ok := errors.AsType[*Broken](err); ok {
		t.Fatalf("%v\nagain: go test ./node/torture -run TestSchedules -seed %d -v", err, b.Schedule)
	}
	if err != nil || got.Schedules != cfg.Schedules {
		t.Fatalf("%d of %d schedules, %v", got.Schedules, cfg.Schedules, err)
	}
	t.Logf("%d schedules, %d requests admitted, %d refused", got.Schedules, got.Admitted, got.Refused)
}

// TestRun_finds breaks what must hold, and expects to be told.
func TestRun_finds(t *testing.T) {
	t.Parallel()
	a, err := newArena(t.TempDir(), begins)
	if err != nil {
		t.Fatal(err)
	}
	w := a.run(1, nil)
	if w.bad != "" || w.admitted == 0 {
		t.Fatalf("the schedule itself: %q, %d admitted", w.bad, w.admitted)
	}
	w.billed += 1 << 40 // a bill that nobody has in the books
	w.check()
	if !strings.Contains(w.bad, "the bill is") || !strings.Contains(w.bad, "last steps") {
		t.Errorf("got %q", w.bad)
	}
}

func TestRun_ends(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	got, err := Run(ctx, Config{Dir: t.TempDir(), Workers: 1, Each: func(done uint64) {
		if done >= 20 {
			cancel()
		}
	}})
	if err != nil || got.Schedules < 20 {
		t.Errorf("got %+v, %v", got, err)
	}
	var steps []string
	got, err = Run(t.Context(), Config{Dir: t.TempDir(), First: 13, Schedules: 1, Steps: func(s string) { steps = append(steps, s) }})
	if err != nil || got.Schedules != 1 || len(steps) == 0 {
		t.Errorf("one schedule alone: got %+v, %v, %d steps", got, err, len(steps))
	}
}
