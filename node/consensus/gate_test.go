package consensus

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// fakeGate is a gate whose clock stands still.
func fakeGate() (g *gate, now *atomic.Int64, deaths *[]error) {
	now, deaths = new(atomic.Int64), new([]error)
	now.Store(int64(time.Hour))
	g = newGate(func() time.Duration { return time.Duration(now.Load()) }, 500*time.Millisecond,
		func(err error) { *deaths = append(*deaths, err) })
	g.armed.Store(true)
	return g, now, deaths
}

func TestGate_stalled(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name               string
		do                 func(g *gate, pass func(time.Duration))
		stalled, campaigns bool
		deaths             int
	}{
		{"idle", func(_ *gate, pass func(time.Duration)) { pass(time.Hour) }, false, true, 0},
		{"a write under way", func(g *gate, pass func(time.Duration)) { g.begin(); pass(900 * time.Millisecond) }, false, true, 0},
		{"a write that hangs", func(g *gate, pass func(time.Duration)) { g.begin(); pass(1100 * time.Millisecond); g.check() }, true, false, 0},
		{"a write that hangs for good", func(g *gate, pass func(time.Duration)) { g.begin(); pass(11 * time.Second); g.check(); g.check() }, true, false, 1},
		{"after a stall", func(g *gate, pass func(time.Duration)) { g.begin(); pass(2 * time.Second); g.end(nil) }, false, false, 0},
		{"a minute after a stall", func(g *gate, pass func(time.Duration)) {
			g.begin()
			pass(2 * time.Second)
			g.end(nil)
			pass(61 * time.Second)
		}, false, true, 0},
		{"a batch that hangs", func(g *gate, pass func(time.Duration)) {
			g.applying.Store(int64(g.boot()))
			pass(2100 * time.Millisecond)
		}, true, false, 0},
		{"one full disk", func(g *gate, _ func(time.Duration)) { g.begin(); g.end(syscall.ENOSPC) }, false, true, 0},
		{"three failures", func(g *gate, pass func(time.Duration)) {
			for range 3 {
				g.begin()
				g.end(syscall.ENOSPC)
				pass(10 * time.Second)
			}
		}, true, false, 1},
		{"three failures in an hour", func(g *gate, pass func(time.Duration)) {
			for range 3 {
				g.begin()
				g.end(errors.New("x"))
				pass(20 * time.Minute)
			}
		}, false, true, 0},
		{"a damaged entry", func(g *gate, _ func(time.Duration)) { g.damaged(ErrCorrupt); g.damaged(ErrCorrupt) }, true, false, 1},
		{"an I/O error", func(g *gate, _ func(time.Duration)) { g.begin(); g.end(fmt.Errorf("sync: %w", syscall.EIO)) }, true, false, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g, now, deaths := fakeGate()
			tt.do(g, func(d time.Duration) { now.Add(int64(d)) })
			if g.stalled() != tt.stalled || g.campaigns() != tt.campaigns || len(*deaths) != tt.deaths {
				t.Errorf("stalled %v, campaigns %v, deaths %v, want %v, %v, %d", g.stalled(), g.campaigns(), *deaths, tt.stalled, tt.campaigns, tt.deaths)
			}
		})
	}
}
