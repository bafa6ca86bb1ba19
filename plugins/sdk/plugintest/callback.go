package plugintest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/plugins/callback"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

type callbackKit struct {
	c    CallbackCase
	from source
	next uint64
}

func (k *callbackKit) checks() []check {
	return append([]check{
		{"describes itself", k.describes},
		{"refuses bad configurations", k.refuses},
		{"delivers what it says", k.delivers},
		{"takes a record twice", k.twice},
		{"takes strange records", k.strange},
		{"takes a large batch", k.large},
		{"takes an empty batch", k.empty},
		{"heeds cancellation", k.cancelled},
		{"goes on after a new start", k.restart},
	}, k.wireChecks()...)
}

func (k *callbackKit) start(t *testing.T) *callback.Client {
	t.Helper()
	c := callback.NewClient(k.from.connect(t))
	if _, err := c.Configure(short(t), sdk.CallbackSettings{Name: "test", Config: k.c.Config}); err != nil {
		t.Fatalf("the configuration is refused: %v", err)
	}
	return c
}

func (k *callbackKit) records(n int) []sdk.Record {
	rs := make([]sdk.Record, n)
	for i := range rs {
		k.next++
		rs[i] = sdk.Record{
			Position: k.next, RequestID: "test", NodeID: "test", StartedAt: time.Unix(1_700_000_000, 0),
			Endpoint: "chat", Model: "test", Status: "success", HTTPStatus: 200,
		}
	}
	return rs
}

// deliver brings the records and sees that at least as many are in the sink afterwards.
func (k *callbackKit) deliver(t *testing.T, c *callback.Client, rs []sdk.Record) {
	t.Helper()
	before := 0
	if k.c.Count != nil {
		before = k.c.Count(t)
	}
	n, err := c.Deliver(short(t), rs)
	if err != nil || n != len(rs) {
		t.Fatalf("delivered %d of %d, %v", n, len(rs), err)
	}
	if k.c.Count != nil {
		if got := k.c.Count(t) - before; got < len(rs) {
			t.Errorf("the plugin says that %d records are safe, the sink has %d", len(rs), got)
		}
	}
}

func (k *callbackKit) refuses(t *testing.T) {
	for _, bad := range k.c.Bad {
		c := callback.NewClient(k.from.connect(t))
		if _, err := c.Configure(short(t), sdk.CallbackSettings{Name: "test", Config: bad}); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func (k *callbackKit) delivers(t *testing.T) {
	c := k.start(t)
	for _, n := range []int{1, 10} {
		k.deliver(t, c, k.records(n))
	}
}

func (k *callbackKit) twice(t *testing.T) {
	c, rs := k.start(t), k.records(3)
	k.deliver(t, c, rs)
	if n, err := c.Deliver(short(t), rs); n != len(rs) || err != nil {
		t.Errorf("delivered %d of %d again, %v", n, len(rs), err)
	}
}

func (k *callbackKit) strange(t *testing.T) {
	rs := k.records(2)
	rs[0] = sdk.Record{Position: rs[0].Position}
	rs[1].EndUser, rs[1].Tags, rs[1].Status = "\x00\xff\n\"", []string{"", strings.Repeat("x", 1<<16)}, "failure"
	k.deliver(t, k.start(t), rs)
}

func (k *callbackKit) large(t *testing.T) { k.deliver(t, k.start(t), k.records(5000)) }

func (k *callbackKit) describes(t *testing.T) {
	d, err := callback.NewClient(k.from.connect(t)).Configure(short(t), sdk.CallbackSettings{Name: "test", Config: k.c.Config})
	if err != nil || d.Version == "" {
		t.Errorf("version %q, %v", d.Version, err)
	}
}

func (k *callbackKit) empty(t *testing.T) {
	c := k.start(t)
	if n, err := c.Deliver(short(t), nil); n != 0 || err != nil {
		t.Errorf("delivered %d of none, %v", n, err)
	}
	k.deliver(t, c, k.records(1))
}

func (k *callbackKit) cancelled(t *testing.T) {
	c := k.start(t)
	ctx, cancel := context.WithCancel(short(t))
	cancel()
	_, _ = c.Deliver(ctx, k.records(1)) // may or may not be answered
	k.deliver(t, c, k.records(1))
}

func (k *callbackKit) restart(t *testing.T) {
	k.deliver(t, k.start(t), k.records(2))
	k.deliver(t, k.start(t), k.records(2))
}
