package plugins

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conclave-llm/conclave/plugins/callback"
	sessions "github.com/conclave-llm/conclave/plugins/session"
)

// asked is a process as far as the watch asks it.
type asked struct {
	signs   sessions.Signs
	waiting int
}

func (*asked) Ping(context.Context) error { return nil }

func (a *asked) Signs() *sessions.Signs { return &a.signs }

func (a *asked) Waiting() int { return a.waiting }

// What is replaced, and when: here the process sleeps, and does nothing else.
func TestWatchdog_look(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("this system does not tell what a process does")
	}
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	left, leave := context.WithCancel(t.Context())
	leave()
	for _, tt := range []struct {
		name   string
		at     func(second int, s *sessions.Signs) // what happens in each second
		within int                                 // seconds; 0: it is not replaced in a minute
		why    error
	}{
		{"idle, and alive", func(_ int, s *sessions.Signs) { s.Hear(0) }, 0, nil},
		{"idle, and says nothing", func(int, *sessions.Signs) {}, 11, errHung},
		{"deadlines pass in silence", func(_ int, s *sessions.Signs) { s.Miss(late, s.Answered()) }, 3, errSilent},
		{"answers pings and nothing else", func(_ int, s *sessions.Signs) {
			s.Ping(7)
			s.Miss(late, s.Answered())
			s.Hear(7)
		}, 3, errSilent},
		{"slow, within a deadline of 8 s", func(i int, s *sessions.Signs) {
			if i%8 == 7 {
				s.Hear(1)
			}
		}, 0, nil},
		{"slow, one after the other: those that queue pass their deadline", func(i int, s *sessions.Signs) {
			before := s.Answered()
			if i%2 == 1 {
				s.Hear(1)
			}
			s.Miss(late, before)
		}, 0, nil},
		{"too late", func(_ int, s *sessions.Signs) {
			for range maxMissed {
				s.Miss(late, s.Answered())
			}
			s.Hear(1)
		}, 0, nil},
		{"clients that leave", func(i int, s *sessions.Signs) {
			if s.Miss(left, s.Answered()); i%8 == 7 {
				s.Hear(0)
			}
		}, 0, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, now := &asked{}, time.Now()
			w := &watchdog{p: sleeping(t), asked: a, hung: 10 * time.Second, mute: 200 * time.Millisecond, stopped: time.Second, since: now, ctx: t.Context()}
			defer w.unanswered.Wait()
			for i := range 60 {
				tt.at(i, &a.signs)
				for range 10 {
					now = now.Add(lookEvery)
					if err := w.look(now); err != nil {
						if !errors.Is(err, tt.why) || i >= tt.within {
							t.Errorf("after %d seconds: %v; want %v within %d (0: never)", i+1, err, tt.why, tt.within)
						}
						return
					}
				}
			}
			if tt.within > 0 {
				t.Errorf("it goes on after a minute, want %v within %d seconds", tt.why, tt.within)
			}
		})
	}
}

// Which pauses make another process take the place: those that are long for this one, asleep, while several questions wait.
func TestPause(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		looks string // of each: a, something was answered since the last; 0 to 9, nothing was, and so many questions wait
		busy  bool
		at    int // the look at which it is doubted; 0: it is not
	}{
		{"fast, then silent", "aaa9999", false, 6},
		{"silent, and works", "aaa999999999", true, 0},
		{"few wait", "aaa222222222", false, 0},
		{"nobody waits", "aaa000000000", false, 0},
		{"never answered", "999999999999", false, 0},
		{"slow, as ever", "a11a11a11a333333a", false, 0},
		{"slow, then silent", "a11a11a33333333", false, 15},
		{"slow once, long ago", "a11111a" + strings.Repeat("a", 2*looksAMinute) + "99999", false, 7 + 2*looksAMinute + 3},
		{"one waits, then several do", "aaa1119", false, 7},
		{"they leave, and others come", "aaa9909909909", false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, p := &asked{}, &pause{}
			for i, what := range tt.looks {
				if a.waiting = 9; what == 'a' {
					a.signs.Hear(1)
				} else {
					a.waiting = int(what - '0')
				}
				if p.look(a, func() bool { return !tt.busy }) {
					if i+1 != tt.at {
						t.Errorf("doubted at look %d, want %d", i+1, tt.at)
					}
					return
				}
			}
			if tt.at > 0 {
				t.Errorf("not doubted, want at look %d", tt.at)
			}
		})
	}
}

// The successor of a process that was silent is given the time that every plugin has.
func TestWatchdog_patience(t *testing.T) {
	t.Parallel()
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	a, now := &asked{}, time.Now()
	began := now
	w := &watchdog{p: sleeping(t), asked: a, hung: 10 * time.Second, mute: time.Millisecond, stopped: time.Minute, since: now, patience: now.Add(crashWindow), ctx: t.Context()}
	defer w.unanswered.Wait()
	for {
		a.signs.Hear(0)
		a.signs.Miss(late, a.signs.Answered())
		now = now.Add(lookEvery)
		if err := w.look(now); err != nil {
			if took := now.Sub(began); !errors.Is(err, errHung) || took < w.hung {
				t.Errorf("%v after %s, want %v after more than %s", err, took, errHung, w.hung)
			}
			return
		}
	}
}

// A process that works, or waits for its turn to, is not called silent.
func TestWatchdog_busy(t *testing.T) {
	t.Parallel()
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	a, now := &asked{}, time.Now()
	w := &watchdog{
		p: &process{run: &run{pid: os.Getpid()}}, asked: a, hung: time.Minute, mute: time.Millisecond, stopped: time.Minute, since: now, ctx: t.Context(),
	}
	defer w.unanswered.Wait()
	for range 10 * maxMissed {
		a.signs.Miss(late, a.signs.Answered())
		now = now.Add(lookEvery)
		if err := w.look(now); err != nil { // this process runs while it looks at itself
			t.Fatal(err)
		}
	}
}

// sleeping starts a process that sleeps.
func sleeping(t *testing.T) *process {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() })
	for !idle(cmd.Process.Pid) {
		runtime.Gosched()
	}
	return &process{run: &run{pid: cmd.Process.Pid}}
}

// stuck is a callback whose deliveries do not end.
type stuck struct{}

func (stuck) Configure(context.Context, callback.Settings) (callback.Description, error) {
	return callback.Description{}, nil
}

func (stuck) Deliver(ctx context.Context, _ []callback.Record) (int, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

// one is a journal with one record.
type one struct{}

func (one) Read(*callback.Subscription, uint64, int) ([]callback.Record, uint64, error) {
	return []callback.Record{{Position: 1}}, 2, nil
}

// A callback that is alive and delivers nothing, as none of its deliveries ends, is replaced.
func TestSupervisor_deaf(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "mark")
	synctest.Test(t, func(t *testing.T) {
		q, err := callback.NewQueue(callback.QueueConfig{Name: "log", MarkPath: mark, Source: one{}})
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		v := &supervisor{queue: q}
		q.Set(stuck{}, callback.Description{})
		time.Sleep(45 * time.Second)
		if err := v.deaf(); err != nil {
			t.Errorf("after one delivery: %v", err)
		}
		time.Sleep(time.Minute)
		if err := v.deaf(); !errors.Is(err, errHung) {
			t.Errorf("after two deliveries that did not end: %v, want %v", err, errHung)
		}
		if err := (&supervisor{}).deaf(); err != nil {
			t.Errorf("of another kind: %v", err)
		}
	})
}
