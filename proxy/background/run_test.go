package background_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conclave-llm/conclave/proxy/background"
)

func TestRun_follow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run := background.New(func(error) {})
		out := background.Answer{Run: run}
		out.Header().Set("Content-Type", "text/event-stream")
		var all, late []string
		follow := func(after int64, to *[]string) {
			err := run.Follow(t.Context(), after, func(raw []byte) error { *to = append(*to, string(raw)); return nil })
			if err != nil {
				t.Errorf("follow: %v", err)
			}
		}
		go follow(-1, &all)
		for _, part := range []string{"data: {\"sequence_number\":0}\n\nda", "ta: {\"sequence_number\":1}\n", "\ndata: {\"sequence_number\":7}\n\n"} {
			if _, err := out.Write([]byte(part)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		go follow(0, &late)
		synctest.Wait()
		run.End()
		synctest.Wait()
		if got := strings.Join(all, ""); strings.Count(got, "sequence_number") != 3 || !strings.HasSuffix(got, "7}\n\n") {
			t.Errorf("all: %q", all)
		}
		if len(late) != 2 || !strings.Contains(late[0], `:1}`) {
			t.Errorf("late: %q", late)
		}
	})
}

func TestRun_tooLong(t *testing.T) {
	t.Parallel()
	run := background.New(func(error) {})
	out := background.Answer{Run: run}
	for range 20 {
		_, _ = out.Write(append(append([]byte("data: {\"x\":\""), bytes.Repeat([]byte("x"), 1<<20)...), "\"}\n\n"...))
	}
	if err := run.Follow(t.Context(), -1, func([]byte) error { return nil }); err == nil {
		t.Error("events that are not kept are followed")
	}
}

func TestRuns_forget(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	runs := background.NewRuns(func() time.Time { return now })
	var cause error
	run := background.New(func(err error) { cause = err })
	runs.Add("a", run)
	if runs.Find("a") != run || runs.Find("b") != nil {
		t.Error("a run is not found")
	}
	runs.Over("a")
	now = now.Add(time.Minute)
	if runs.Find("a") == nil {
		t.Error("a run is forgotten at once")
	}
	now = now.Add(time.Hour)
	if runs.Find("a") != nil {
		t.Error("a run is never forgotten")
	}
	run.Cancel()
	if !errors.Is(cause, background.ErrCancelled) {
		t.Errorf("cause %v", cause)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run.Follow(ctx, -1, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// FuzzAnswer checks that events are the same in whatever pieces they come.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("data: {\"sequence_number\":0}\n\ndata: [DONE]\n\n"), 3)
	f.Add([]byte(": x\n\n\n\n"), 1)
	f.Fuzz(func(t *testing.T, raw []byte, cut int) {
		if len(raw) == 0 {
			return
		}
		cut = max(0, min(cut, len(raw)))
		read := func(parts ...[]byte) (all []byte) {
			run := background.New(func(error) {})
			for _, p := range parts {
				_, _ = background.Answer{Run: run}.Write(p)
			}
			run.End()
			_ = run.Follow(t.Context(), -1, func(raw []byte) error { all = append(all, raw...); return nil })
			_ = run.Failure() // whatever it is, it can be read
			return all
		}
		if a, b := read(raw), read(raw[:cut], raw[cut:]); !bytes.Equal(a, b) {
			t.Fatalf("%q in two pieces: %q and %q", raw, a, b)
		}
	})
}
