package auditlog_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conclave-llm/conclave/node/auditlog"
	"github.com/conclave-llm/conclave/resource"
)

// told collects what Events proposes.
type told struct {
	mu     sync.Mutex
	events []resource.AuditEvent
	calls  int
	down   error
}

func (l *told) propose(_ context.Context, events []resource.AuditEvent) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down != nil {
		return l.down
	}
	l.calls++
	l.events = append(l.events, events...)
	return nil
}

// take returns what was told since the last call, as "address count".
func (l *told) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, e := range l.events {
		out = append(out, fmt.Sprintf("%s%s %d", e.Address, e.ID, e.Count))
	}
	l.events = nil
	return out
}

func failure(address string) resource.AuditEvent {
	return resource.AuditEvent{Address: address, Action: "sign_in", Outcome: resource.AuditFailed, RequestID: "r"}
}

// run runs Events in a bubble until fn returns.
func run(t *testing.T, fn func(e *auditlog.Events, l *told)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &told{}
		e := auditlog.NewEvents(auditlog.EventsConfig{Propose: l.propose})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { e.Run(ctx) })
		fn(e, l)
		cancel()
		wg.Wait()
	})
}

// pass lets time go by.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func want(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestEvents_Flood(t *testing.T) {
	t.Parallel()
	run(t, func(e *auditlog.Events, l *told) {
		e.Note(failure("10.0.0.1"))
		pass(1500 * time.Millisecond)
		want(t, "the first", l.take(), "10.0.0.1 0")
		for range 10_000 {
			e.Note(failure("10.0.0.1"))
			e.Note(failure("2001:db8::1"))
			e.Note(failure("2001:db8::2"))
		}
		pass(30 * time.Second)
		want(t, "another network", l.take(), "2001:db8::1 20000")
		pass(40 * time.Second)
		want(t, "the rest of the minute", l.take(), "10.0.0.1 10000")
		pass(2 * time.Minute)
		want(t, "silence", l.take())
	})
}

func TestEvents_ManyAddresses(t *testing.T) {
	t.Parallel()
	run(t, func(e *auditlog.Events, l *told) {
		for i := range 20_000 {
			e.Note(failure(fmt.Sprintf("10.0.%d.%d", i/256, i%256)))
		}
		pass(2 * time.Minute)
		got := l.take()
		if len(got) != 33 || got[len(got)-1] != "others 19968" && got[0] != "others 19968" {
			all := fmt.Sprint(got)
			if len(got) != 33 {
				t.Errorf("got %d entries: %s", len(got), all)
			}
		}
		if l.calls > 2 {
			t.Errorf("got %d commands, want 2 at most", l.calls)
		}
	})
}

func TestEvents_SignIn(t *testing.T) {
	t.Parallel()
	run(t, func(e *auditlog.Events, l *told) {
		ev := resource.AuditEvent{Actor: "master", Address: "10.0.0.1", Action: "sign_in"}
		for range 50 {
			e.Note(ev)
			pass(10 * time.Minute)
		}
		want(t, "eight hours of use", l.take(), "10.0.0.1 0")
		pass(8 * time.Hour)
		e.Note(ev)
		pass(2 * time.Second)
		want(t, "half a day later", l.take(), "10.0.0.1 0")
	})
}

func TestEvents_NoLeader(t *testing.T) {
	t.Parallel()
	run(t, func(e *auditlog.Events, l *told) {
		l.mu.Lock()
		l.down = errors.New("no leader")
		l.mu.Unlock()
		for i := range 600 {
			e.Note(failure(fmt.Sprintf("10.0.0.%d", i%20)))
			pass(10 * time.Second)
		}
		l.mu.Lock()
		l.down = nil
		l.mu.Unlock()
		pass(2 * time.Second)
		if got := len(l.take()); got == 0 || got > 256 {
			t.Errorf("got %d events, want those that had room", got)
		}
	})
}

func TestEvents_LastOnes(t *testing.T) {
	t.Parallel()
	var l *told
	run(t, func(e *auditlog.Events, told *told) {
		l = told
		e.Note(failure("10.0.0.1"))
	})
	want(t, "at the end", l.take(), "10.0.0.1 0")
}
