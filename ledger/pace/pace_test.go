package pace

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestLane_oneAfterTheOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := New(0, nil)
		first, err := l.Enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		entered := make(chan *Turn)
		go func() {
			second, err := l.Enter(t.Context())
			if err != nil {
				t.Error(err)
			}
			entered <- second
		}()
		synctest.Wait()
		select {
		case <-entered:
			t.Fatal("two questions work at once")
		default:
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.Enter(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("one that was given up: got %v", err)
		}
		first.Leave()
		first.Leave() // once counts
		second := <-entered
		second.Leave()
		if len(l.turns) != 0 {
			t.Errorf("%d turns are held for ever", len(l.turns))
		}
	})
}

func TestTurn_Step(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name         string
		busy         bool
		worked, rest time.Duration
	}{
		{"a slice is not over", true, slice / 2, 0},
		{"nobody is served", false, slice, 0},
		{"requests are served", true, slice, rests * slice},
		{"a long piece", true, 10 * slice, 10 * rests * slice},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				turn := New(1, func() bool { return tt.busy }).Beside()
				time.Sleep(tt.worked)
				at := time.Now()
				if err := turn.Step(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got := time.Since(at); got != tt.rest {
					t.Errorf("rested %s, want %s", got, tt.rest)
				}
			})
		})
	}
}

func TestTurn_StepGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turn := New(1, func() bool { return true }).Beside()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		at := time.Now()
		if err := turn.Step(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(at) != time.Second {
			t.Errorf("got %v after %s", err, time.Since(at))
		}
	})
}

func TestTurn_StepOfALongQuestion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turn := New(1, func() bool { return true }).Beside()
		began, worked := time.Now(), time.Duration(0)
		for time.Since(began) < time.Minute {
			time.Sleep(slice)
			worked += slice
			if err := turn.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if worked < 25*time.Second {
			t.Errorf("worked %s of a minute, want nearly half of it", worked)
		}
	})
}
