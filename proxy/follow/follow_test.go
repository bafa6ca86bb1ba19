package follow_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/follow"
	"github.com/conclave-llm/conclave/proxy/parts"
	"github.com/conclave-llm/conclave/proxy/upstream"
)

type upstreamFunc func(ctx context.Context, a *upstream.Attempt) (parts.Answer, error)

func (f upstreamFunc) Do(ctx context.Context, a *upstream.Attempt) (parts.Answer, error) {
	return f(ctx, a)
}

// attempt orders something at a provider that has an address of its own.
func attempt(total time.Duration) *upstream.Attempt {
	p, _ := provider.Lookup("openai")
	return &upstream.Attempt{Provider: p, Endpoint: llm.Chat, Base: "http://host/v1", Body: []byte("order"), Timeouts: upstream.Timeouts{Total: total}}
}

// polls asks every second until the body is "done".
func polls(body []byte) (*llm.Step, error) {
	if string(body) == "done" {
		return nil, nil
	}
	return &llm.Step{Method: "GET", Path: "/jobs/1", Wait: time.Second, Cancel: "/jobs/1/cancel"}, nil
}

// TestDo asks until the answer is there, at the address of the first request.
func TestDo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		began := time.Now()
		got, err := follow.Do(t.Context(), upstreamFunc(func(_ context.Context, a *upstream.Attempt) (parts.Answer, error) {
			asked = append(asked, a.Method+" "+a.Base+a.Path+" "+string(a.Body))
			body := "wait"
			if len(asked) == 4 {
				body = "done"
			}
			return parts.Answer{Body: []byte(body)}, nil
		}), attempt(time.Minute), polls)
		if err != nil || string(got.Body) != "done" || time.Since(began) != 3*time.Second {
			t.Errorf("got %q, %v after %v", got.Body, err, time.Since(began))
		}
		if len(asked) != 4 || asked[0] != " http://host/v1 order" || asked[3] != "GET http://host/v1/jobs/1 " {
			t.Errorf("asked %q", asked)
		}
	})
}

// TestDo_GivesUp: what nobody waits for any more is cancelled, and the error says why.
func TestDo_GivesUp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		total time.Duration
		leave time.Duration
		want  llm.Kind
	}{
		{"in time", 10 * time.Second, time.Hour, llm.Timeout},
		{"the client leaves", time.Hour, 5 * time.Second, llm.Canceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				stop := time.AfterFunc(tt.leave, cancel)
				defer stop.Stop()
				last := ""
				_, err := follow.Do(ctx, upstreamFunc(func(ctx context.Context, a *upstream.Attempt) (parts.Answer, error) {
					last = a.Method + " " + a.Path
					if ctx.Err() != nil {
						t.Error("it is asked though the time is over")
					}
					return parts.Answer{Body: []byte("wait")}, nil
				}), attempt(tt.total), polls)
				if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != tt.want || last != "POST /jobs/1/cancel" {
					t.Errorf("got %v, last asked %s", err, last)
				}
			})
		})
	}
}

// TestDo_GivesUpAsking: a question that is still being asked when the client leaves is given up too.
func TestDo_GivesUpAsking(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var asked []string
		_, err := follow.Do(ctx, upstreamFunc(func(ctx context.Context, a *upstream.Attempt) (parts.Answer, error) {
			asked = append(asked, a.Method+" "+a.Path)
			if a.Method == "GET" {
				cancel()
				return parts.Answer{}, &llm.Error{Kind: llm.Canceled, Err: ctx.Err()}
			}
			return parts.Answer{Body: []byte("wait")}, nil
		}), attempt(0), polls)
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Canceled || len(asked) != 3 || asked[2] != "POST /jobs/1/cancel" {
			t.Errorf("got %v, asked %q", err, asked)
		}
	})
}

// TestDo_Root: a provider may lead to another host of its own alone, and what is left there is removed.
func TestDo_Root(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ base, root, want string }{
		{"https://api.bfl.ai", "https://api.eu2.bfl.ai", "https://api.eu2.bfl.ai"},
		{"https://api.bfl.ai", "http://api.eu2.bfl.ai", "https://api.bfl.ai"},
		{"https://api.bfl.ai", "https://api.bfl.ai.evil.example", "https://api.bfl.ai"},
		{"https://api.bfl.ai", "https://api.bfl.ai:8443", "https://api.bfl.ai"},
		{"https://api.bfl.ai", "https://u@eu.bfl.ai", "https://api.bfl.ai"},
		{"https://models.acme.co.uk", "https://eu.acme.co.uk", "https://eu.acme.co.uk"},
		{"https://models.acme.co.uk", "https://evil.co.uk", "https://models.acme.co.uk"},
		{"https://mine.run.app", "https://theirs.run.app", "https://mine.run.app"}, // whose tenants are strangers
		{"https://10.0.0.1", "https://9.9.0.1", "https://10.0.0.1"},
		{"https://localhost", "https://localhost", "https://localhost"},
		{"https://api.bfl.ai", "::", "https://api.bfl.ai"},
	} {
		a := attempt(0)
		a.Base = tt.base
		var asked []string
		_, err := follow.Do(t.Context(), upstreamFunc(func(_ context.Context, a *upstream.Attempt) (parts.Answer, error) {
			asked = append(asked, a.Method+" "+a.Base+a.Path)
			return parts.Answer{Body: []byte(strconv.Itoa(len(asked)))}, nil
		}), a, func(body []byte) (*llm.Step, error) {
			if string(body) == "3" {
				return nil, nil
			}
			return &llm.Step{Method: "GET", Path: "/r", Root: tt.root, Remove: []string{"/files/1", "@evil.example"}}, nil
		})
		want := []string{" " + tt.base, "GET " + tt.want + "/r", "GET " + tt.want + "/r", "DELETE " + tt.want + "/files/1"}
		if err != nil || !slices.Equal(asked, want) {
			t.Errorf("%s: asked %q, %v, want %q", tt.root, asked, err, want)
		}
	}
}

// TestDo_Address: what a provider says cannot lead to another host.
func TestDo_Address(t *testing.T) {
	t.Parallel()
	n := 0
	_, err := follow.Do(t.Context(), upstreamFunc(func(context.Context, *upstream.Attempt) (parts.Answer, error) {
		n++
		return parts.Answer{}, nil
	}), attempt(0), func([]byte) (*llm.Step, error) { return &llm.Step{Path: "@evil.example/"}, nil })
	if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Upstream || n != 1 {
		t.Errorf("got %v after %d", err, n)
	}
}
