package guardrail_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/resource"
)

// models are Models made of a function.
type models func(ctx context.Context, endpoint string, body []byte) ([]byte, error)

func (m models) Ask(ctx context.Context, endpoint string, body []byte) ([]byte, error) {
	return m(ctx, endpoint, body)
}

// asking is a plugin that asks what is in the first text, and says in its message what it heard.
func asking() *impl {
	return &impl{
		description: guardrail.Description{Version: "1", Hooks: []resource.Hook{resource.HookBefore}},
		fake: fake{check: func(ctx context.Context, c *guardrail.Check) (guardrail.Verdict, error) {
			got, err := c.Info.Models.Ask(ctx, "chat", []byte(c.Texts[0].Text))
			if err != nil {
				return guardrail.Verdict{}, fmt.Errorf("ask: %w", err)
			}
			return guardrail.Verdict{Action: guardrail.Block, Message: string(got)}, nil
		}},
	}
}

func question(m guardrail.Models, text string) *guardrail.Check {
	return &guardrail.Check{Hook: resource.HookBefore, Info: guardrail.Info{Models: m}, Texts: []guardrail.Text{{Text: text}}}
}

func TestModels(t *testing.T) {
	t.Parallel()
	c := dial(t, asking())
	upper := models(func(_ context.Context, endpoint string, body []byte) ([]byte, error) {
		if endpoint != "chat" {
			return nil, errors.New("another endpoint")
		}
		return []byte(strings.ToUpper(string(body))), nil
	})
	if v, err := c.Check(t.Context(), question(upper, "hello")); err != nil || v.Message != "HELLO" {
		t.Errorf("got %+v, %v", v, err)
	}
	failing := models(func(context.Context, string, []byte) ([]byte, error) { return nil, errors.New("over budget") })
	if _, err := c.Check(t.Context(), question(failing, "x")); err == nil || !strings.Contains(err.Error(), "over budget") {
		t.Errorf("got %v", err)
	}
	large := models(func(context.Context, string, []byte) ([]byte, error) { return make([]byte, guardrail.MaxAnswer+1), nil })
	if _, err := c.Check(t.Context(), question(large, "x")); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("got %v", err)
	}
	if _, err := c.Check(t.Context(), question(nil, "x")); err == nil || !strings.Contains(err.Error(), "no model may be asked here") {
		t.Errorf("got %v", err)
	}
}

// More checks than a plugin works on at a time wait for models, and none waits for another.
func TestModels_Many(t *testing.T) {
	t.Parallel()
	const n = 600
	c := dial(t, asking())
	var there sync.WaitGroup
	there.Add(n)
	all := models(func(_ context.Context, _ string, body []byte) ([]byte, error) {
		there.Done()
		there.Wait() // until all of them have asked
		return body, nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			want := fmt.Sprint(i)
			if v, err := c.Check(ctx, question(all, want)); err != nil || v.Message != want {
				t.Errorf("got %+v, %v, want %s", v, err, want)
			}
		})
	}
	wg.Wait()
}

// A check that ends takes back what it has lent, and waits for it: nothing is asked on the account of a
// request that is over.
func TestModels_Ends(t *testing.T) {
	t.Parallel()
	c := dial(t, asking())
	ctx, cancel := context.WithCancel(t.Context())
	began := make(chan struct{})
	var open atomic.Int64
	slow := models(func(ctx context.Context, _ string, _ []byte) ([]byte, error) {
		open.Add(1)
		defer open.Add(-1)
		close(began)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	go func() {
		<-began
		cancel()
	}()
	if _, err := c.Check(ctx, question(slow, "x")); !errors.Is(err, context.Canceled) || open.Load() != 0 {
		t.Errorf("got %v with %d requests under way", err, open.Load())
	}
	echo := models(func(_ context.Context, _ string, body []byte) ([]byte, error) { return body, nil })
	if v, err := c.Check(t.Context(), question(echo, "again")); err != nil || v.Message != "again" {
		t.Errorf("afterwards: got %+v, %v", v, err)
	}
}

// A plugin that asks without end is told no.
func TestModels_Flood(t *testing.T) {
	t.Parallel()
	var refused atomic.Int64
	c := dial(t, &impl{
		description: guardrail.Description{Version: "1", Hooks: []resource.Hook{resource.HookBefore}},
		fake: fake{check: func(ctx context.Context, c *guardrail.Check) (guardrail.Verdict, error) {
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					if _, err := c.Info.Models.Ask(ctx, "chat", []byte("{}")); err != nil {
						refused.Add(1)
					}
				})
			}
			wg.Wait()
			return guardrail.Verdict{}, nil
		}},
	})
	echo := models(func(_ context.Context, _ string, body []byte) ([]byte, error) { return body, nil })
	if _, err := c.Check(t.Context(), question(echo, "x")); err != nil || refused.Load() != 36 {
		t.Errorf("got %v, %d of 100 refused, want 36", err, refused.Load())
	}
}
