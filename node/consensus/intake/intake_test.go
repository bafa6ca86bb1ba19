package intake_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conclave-llm/conclave/node/consensus/intake"
	"github.com/conclave-llm/conclave/resource"
)

// windows hold two empty entries of each class, and let one more wait.
func windows() intake.Windows {
	w := intake.Window{Bytes: 2 << 10, Wait: time.Second, Waiting: 1}
	return intake.Windows{intake.Node: w, intake.Admin: w, intake.Import: w}
}

func TestIntake_full(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in := intake.New(windows())
		var leave []func()
		for range 2 {
			l, err := in.Enter(t.Context(), intake.Admin, 0)
			if err != nil {
				t.Fatal(err)
			}
			leave = append(leave, l)
		}
		for _, c := range []intake.Class{intake.Urgent, intake.Node, intake.Import} {
			if _, err := in.Enter(t.Context(), c, 0); err != nil {
				t.Errorf("%s beside a full class: %v", c, err)
			}
		}
		start, waited := time.Now(), make(chan error)
		go func() {
			_, err := in.Enter(t.Context(), intake.Admin, 0)
			waited <- err
		}()
		synctest.Wait()
		if _, err := in.Enter(t.Context(), intake.Admin, 0); !errors.Is(err, resource.ErrBusy) || time.Since(start) != 0 {
			t.Errorf("one more than may wait: got %v after %s", err, time.Since(start))
		}
		if err := <-waited; !errors.Is(err, resource.ErrBusy) || time.Since(start) != time.Second {
			t.Errorf("no place in time: got %v after %s", err, time.Since(start))
		}
		go func() {
			_, err := in.Enter(t.Context(), intake.Admin, 0)
			waited <- err
		}()
		synctest.Wait()
		leave[0]()
		if err := <-waited; err != nil {
			t.Errorf("a place became free: %v", err)
		}
	})
}

func TestIntake_canceled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in := intake.New(windows())
		if _, err := in.Enter(t.Context(), intake.Import, 1<<20); err != nil {
			t.Fatalf("an entry larger than its window enters alone: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := in.Enter(ctx, intake.Import, 0); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, resource.ErrBusy) {
			t.Errorf("got %v", err)
		}
	})
}

func TestIntake_urgent(t *testing.T) {
	t.Parallel()
	in := intake.New(windows())
	for range 10_000 {
		if _, err := in.Enter(t.Context(), intake.Urgent, 1<<20); err != nil {
			t.Fatal(err)
		}
	}
}
