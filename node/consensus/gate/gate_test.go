package gate

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/consensus/logstore"
)

// fakeGate is a gate whose clock stands still.
func fakeGate() (g *Gate, now *atomic.Int64, deaths *[]error) {
	now, deaths = new(atomic.Int64), new([]error)
	now.Store(int64(time.Hour))
	g = New(Config{
		Boot:      func() time.Duration { return time.Duration(now.Load()) },
		Heartbeat: 500 * time.Millisecond,
		Fatal:     func(err error) { *deaths = append(*deaths, err) },
	})
	g.Arm()
	return g, now, deaths
}

// TestGate_quiet has a node that stalled let others go first each time that there is no leader, and not for ever.
func TestGate_quiet(t *testing.T) {
	t.Parallel()
	g, now, _ := fakeGate()
	pass := func(d time.Duration) { now.Add(int64(d)) }
	g.Begin()
	pass(2 * time.Second)
	g.End(nil)
	for _, wait := range []time.Duration{10 * time.Second, 5 * time.Second} {
		pass(wait) // somebody leads
		began := g.boot()
		for !g.campaigns() {
			if pass(time.Second); g.boot()-began > 10*time.Second {
				t.Fatal("it never campaigns")
			}
		}
		if yielded := g.boot() - began; yielded != 3*time.Second {
			t.Errorf("others go first for %s, want 3 s", yielded)
		}
		if pass(time.Second); !g.campaigns() {
			t.Error("it campaigns once, and does not go on")
		}
	}
	pass(time.Minute)
	if !g.campaigns() {
		t.Error("it is quiet for more than a minute")
	}
}

func TestGate_stalled(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name               string
		do                 func(g *Gate, pass func(time.Duration))
		stalled, campaigns bool
		deaths             int
	}{
		{"idle", func(_ *Gate, pass func(time.Duration)) { pass(time.Hour) }, false, true, 0},
		{"a write under way", func(g *Gate, pass func(time.Duration)) { g.Begin(); pass(900 * time.Millisecond) }, false, true, 0},
		{"a write that hangs", func(g *Gate, pass func(time.Duration)) { g.Begin(); pass(1100 * time.Millisecond); g.Check() }, true, false, 0},
		{"a write that hangs for good", func(g *Gate, pass func(time.Duration)) { g.Begin(); pass(11 * time.Second); g.Check(); g.Check() }, true, false, 1},
		{"after a stall", func(g *Gate, pass func(time.Duration)) { g.Begin(); pass(2 * time.Second); g.End(nil) }, false, false, 0},
		{"a minute after a stall", func(g *Gate, pass func(time.Duration)) {
			g.Begin()
			pass(2 * time.Second)
			g.End(nil)
			pass(61 * time.Second)
		}, false, true, 0},
		{"a batch that hangs", func(g *Gate, pass func(time.Duration)) {
			g.applying.Store(int64(g.boot()))
			pass(2100 * time.Millisecond)
		}, true, false, 0},
		{"one full disk", func(g *Gate, _ func(time.Duration)) { g.Begin(); g.End(syscall.ENOSPC) }, false, true, 0},
		{"three failures", func(g *Gate, pass func(time.Duration)) {
			for range 3 {
				g.Begin()
				g.End(syscall.ENOSPC)
				pass(10 * time.Second)
			}
		}, true, false, 1},
		{"three failures in an hour", func(g *Gate, pass func(time.Duration)) {
			for range 3 {
				g.Begin()
				g.End(errors.New("x"))
				pass(20 * time.Minute)
			}
		}, false, true, 0},
		{"a damaged entry", func(g *Gate, _ func(time.Duration)) { g.Broken(logstore.ErrCorrupt); g.Broken(logstore.ErrCorrupt) }, true, false, 1},
		{"an I/O error", func(g *Gate, _ func(time.Duration)) { g.Begin(); g.End(fmt.Errorf("sync: %w", syscall.EIO)) }, true, false, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g, now, deaths := fakeGate()
			tt.do(g, func(d time.Duration) { now.Add(int64(d)) })
			if g.Stalled() != tt.stalled || g.campaigns() != tt.campaigns || len(*deaths) != tt.deaths {
				t.Errorf("stalled %v, campaigns %v, deaths %v, want %v, %v, %d", g.Stalled(), g.campaigns(), *deaths, tt.stalled, tt.campaigns, tt.deaths)
			}
		})
	}
}
