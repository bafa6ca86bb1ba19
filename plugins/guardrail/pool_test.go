package guardrail_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/resource"
)

// answering is a backend that counts, and fails with err.
type answering struct {
	asked int
	err   error
}

func (a *answering) Check(context.Context, *guardrail.Check) (guardrail.Verdict, error) {
	a.asked++
	return guardrail.Verdict{}, a.err
}

func (a *answering) OpenStream(context.Context, *guardrail.Info) (guardrail.Stream, error) {
	a.asked++
	return silent{}, a.err
}

type silent struct{}

func (silent) Chunk(context.Context, []guardrail.Part) (guardrail.Verdict, error) {
	return guardrail.Verdict{}, nil
}
func (silent) End(context.Context) (guardrail.Verdict, error) { return guardrail.Verdict{}, nil }
func (silent) Close()                                         {}

func pooledOf(backends ...*answering) *guardrail.Live {
	var lives []*guardrail.Live
	for _, b := range backends {
		lives = append(lives, &guardrail.Live{Backend: b})
	}
	return guardrail.Pool(lives)
}

func TestPool_SpreadsChecks(t *testing.T) {
	t.Parallel()
	a, b, c := &answering{}, &answering{}, &answering{}
	p := pooledOf(a, b, c)
	for range 30 {
		if _, err := p.Backend.Check(t.Context(), &guardrail.Check{}); err != nil {
			t.Fatal(err)
		}
	}
	if a.asked != 10 || b.asked != 10 || c.asked != 10 {
		t.Errorf("30 checks went %d, %d, %d", a.asked, b.asked, c.asked)
	}
}

func TestPool_OpenStreamsCount(t *testing.T) {
	t.Parallel()
	a, b := &answering{}, &answering{}
	p := pooledOf(a, b)
	var open []guardrail.Stream
	for range 10 {
		s, err := p.Backend.OpenStream(t.Context(), &guardrail.Info{})
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
	}
	if a.asked != 5 || b.asked != 5 {
		t.Fatalf("10 streams went %d, %d", a.asked, b.asked)
	}
	for i, s := range open {
		if i%2 == 0 {
			s.Close()
			s.Close() // the second one must not count
		}
	}
	a.asked, b.asked = 0, 0
	for range 5 {
		_, _ = p.Backend.Check(t.Context(), &guardrail.Check{})
	}
	if a.asked != 0 && b.asked != 0 {
		t.Errorf("5 checks went %d, %d, want all to the one without streams", a.asked, b.asked)
	}
}

func TestPool_Failures(t *testing.T) {
	t.Parallel()
	dead := fmt.Errorf("session ended: %w", guardrail.ErrNotRunning)
	other := errors.New("plugin: it is out of order")
	for _, tt := range []struct {
		name  string
		err   error
		asked int // of the one that works, in 10 checks
		fail  bool
	}{
		{"one is dead", dead, 10, false},
		{"one answers with errors", other, 5, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			broken, works := &answering{err: tt.err}, &answering{}
			p := pooledOf(broken, works)
			failed := false
			for range 10 {
				_, err := p.Backend.Check(t.Context(), &guardrail.Check{})
				failed = failed || err != nil
			}
			if works.asked != tt.asked || failed != tt.fail {
				t.Errorf("the other was asked %d times (want %d), failed %v (want %v)", works.asked, tt.asked, failed, tt.fail)
			}
		})
	}
	alive := &answering{}
	p := pooledOf(&answering{err: dead}, &answering{err: dead}, alive)
	for range 10 {
		if _, err := p.Backend.Check(t.Context(), &guardrail.Check{}); err != nil {
			t.Errorf("of three one lives: %v", err)
		}
	}
	if _, err := pooledOf(&answering{err: dead}, &answering{err: dead}).Backend.Check(t.Context(), &guardrail.Check{}); !errors.Is(err, guardrail.ErrNotRunning) {
		t.Errorf("all are dead: %v", err)
	}
}

func TestPool_Describes(t *testing.T) {
	t.Parallel()
	if guardrail.Pool(nil) != nil {
		t.Error("a pool of nothing is something")
	}
	one := &guardrail.Live{}
	if guardrail.Pool([]*guardrail.Live{one}) != one {
		t.Error("a pool of one is another")
	}
	got := guardrail.Pool([]*guardrail.Live{
		{Description: guardrail.Description{Hooks: []resource.Hook{resource.HookBefore}, HoldBack: 7, SDKMinor: 5}},
		{Description: guardrail.Description{Hooks: []resource.Hook{resource.HookDuring}, HoldBack: 3, HoldAll: true, WantsBody: true}},
	}).Description
	if !slices.Equal(got.Hooks, []resource.Hook{resource.HookBefore, resource.HookDuring}) || got.HoldBack != 7 || !got.HoldAll || !got.WantsBody || got.SDKMinor != 4 {
		t.Errorf("got %+v", got)
	}
}
