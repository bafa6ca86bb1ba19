package node

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

func TestFreshness(t *testing.T) {
	t.Parallel()
	const never = -1
	wall := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		name                  string
		sent, last            time.Duration // ages of the newest applied tick of this process, and of the state's; never: none
		limit                 time.Duration
		fresh, serving, admin bool
		kept                  time.Duration // age of the mark that the process before has kept; 0: none
		lacks                 bool          // the state does not hold the kept mark's tick
	}{
		{"just now", 0, never, time.Hour, true, true, true, 0, false},
		{"a moment before the end", freshFor - 1, never, time.Hour, true, true, true, 0, false},
		{"not fresh, admins still", freshFor, never, time.Hour, false, true, true, 0, false},
		{"a moment before admins end", adminStaleFor - 1, never, time.Hour, false, true, true, 0, false},
		{"admins end", adminStaleFor, never, time.Hour, false, true, false, 0, false},
		{"inference ends", time.Hour, never, time.Hour, false, false, false, 0, false},
		{"for ever", 1000 * time.Hour, never, -1, false, true, false, 0, false},
		{"fail closed, fresh", freshFor - 1, never, 0, true, true, true, 0, false},
		{"fail closed", freshFor, never, 0, false, false, true, 0, false},
		{"limit below freshness", 5 * time.Second, never, time.Second, true, true, true, 0, false},
		{"machine started, state is young by a clock that may be wrong", never, time.Second, time.Hour, false, true, false, 0, false},
		{"machine started, fail closed", never, time.Second, 0, false, false, false, 0, false},
		{"machine started, state is old", never, 2 * time.Hour, time.Hour, false, false, false, 0, false},
		{"machine started, the clock is a second behind the leader's", never, -time.Second, time.Hour, false, true, false, 0, false},
		{"machine started, the clock was set back", never, -6 * time.Hour, time.Hour, false, false, false, 0, false},
		{"machine started, the clock was set back, fail closed", never, -6 * time.Hour, 0, false, false, false, 0, false},
		{"machine started, the clock was set back, for ever", never, -6 * time.Hour, -1, false, true, false, 0, false},
		{"process started", never, time.Second, 0, true, true, true, time.Second, false},
		{"process started, the clock was set back", never, -6 * time.Hour, time.Hour, true, true, true, time.Second, false},
		{"process started an hour after, the clock was set back", never, -6 * time.Hour, time.Hour, false, false, false, time.Hour, false},
		{"process started an hour after, the clock was set back by that", never, time.Second, time.Hour, false, false, false, time.Hour, false},
		{"process started, with a boot clock of its own", never, time.Second, time.Hour, false, true, false, -time.Hour, false},
		{"process started, the state was rebuilt from an older one", never, 2 * time.Hour, time.Hour, false, false, false, time.Second, true},
		{"started, no state", never, never, time.Hour, false, false, false, 0, false},
		{"started, no state, for ever", never, never, -1, false, true, false, 0, false},
		{"own tick beats the state's", time.Hour, time.Second, time.Minute, false, false, false, 0, false},
		{"own tick beats the one before", time.Hour, time.Second, time.Minute, false, false, false, time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const boot = 10_000 * time.Hour
			f := freshness{
				boot: func() time.Duration { return boot }, now: func() time.Time { return wall },
				limit: func() time.Duration { return tt.limit },
				lastTick: func() (epoch, seq uint64, at resource.Time) {
					if tt.last == never {
						return 0, 0, 0
					}
					return 3, 7, resource.At(wall.Add(-tt.last))
				},
				keep: func(tickMark) {},
			}
			if tt.kept != 0 {
				f.before = tickMark{epoch: 3, seq: 7, sent: boot - tt.kept}
			}
			if tt.lacks {
				f.before.seq++
			}
			if tt.sent != never {
				f.applied(tickMark{epoch: 4, seq: 1, sent: boot - tt.sent})
			}
			if got := f.Fresh(); got != tt.fresh {
				t.Errorf("fresh: got %v, want %v", got, tt.fresh)
			}
			err := f.Serving()
			if got := err == nil; got != tt.serving {
				t.Errorf("serving: got %v, want %v", err, tt.serving)
			}
			if e, ok := errors.AsType[*llm.Error](err); err != nil && (!ok || e.HTTPStatus() != 503) {
				t.Errorf("got %v, want a 503: it is no decision about the key", err)
			}
			if got := f.Stale() == nil; got != tt.admin {
				t.Errorf("admins: got %v, want %v", got, tt.admin)
			}
		})
	}
}

// TestLastTick reads what a process before has kept: within one boot of the machine, and whole.
func TestLastTick(t *testing.T) {
	t.Parallel()
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	open := func(boot string) (*lastTick, tickMark) {
		t.Helper()
		f, before, err := openLastTick(dir, boot, log)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := f.close(); err != nil {
				t.Error(err)
			}
		})
		return f, before
	}
	f, before := open("boot-1")
	if !before.zero() {
		t.Errorf("an empty folder: got %+v", before)
	}
	first := tickMark{epoch: 18446744073709551615, seq: 5, sent: time.Hour}
	f.note(first)
	f.note(tickMark{epoch: 1, seq: 6, sent: first.sent + lastTickEvery - 1}) // too soon to be written
	if _, before = open("boot-1"); before != first {
		t.Errorf("got %+v, want %+v", before, first)
	}
	second := tickMark{epoch: 2, seq: 1, sent: first.sent + lastTickEvery}
	f.note(second)
	if _, before = open("boot-1"); before != second {
		t.Errorf("got %+v, want %+v", before, second)
	}
	for _, boot := range []string{"boot-2", ""} {
		if _, before = open(boot); !before.zero() {
			t.Errorf("in boot %q: got %+v, want none", boot, before)
		}
	}
}
