package plugins

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conclave-llm/conclave/plugins/callback"
)

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
