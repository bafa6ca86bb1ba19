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

// TestDo_Elsewhere: an address in full is asked without what belongs to the provider, and must be public unless it
// is the provider's own. What is over no TLS, or no address, is not asked.
func TestDo_Elsewhere(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		base, url, asked string // "": it is not
		public           bool
	}{
		{"https://api.acme.com", "https://cdn.example/a/b%2Fc.mp3?sig=x%2By", "GET https://cdn.example/a/b%2Fc.mp3?sig=x%2By", true},
		{"https://api.acme.com", "https://API.acme.com/out/1", "GET https://API.acme.com/out/1", false},
		{"http://10.0.0.7:8080/v1", "http://10.0.0.7:8080/out/1", "GET http://10.0.0.7:8080/out/1", false},
		{"http://10.0.0.7:8080/v1", "http://10.0.0.7:9090/out/1", "", false},
		{"https://api.acme.com", "http://api.acme.com/out/1", "", false},
		{"https://api.acme.com", "https://u:p@cdn.example/out", "", false},
		{"https://api.acme.com", "file:///etc/passwd", "", false},
		{"https://api.acme.com", "https://", "", false},
		{"https://api.acme.com", ":", "", false},
	} {
		a := attempt(0)
		a.Base = tt.base
		var asked []*upstream.Attempt
		_, err := follow.Do(t.Context(), upstreamFunc(func(_ context.Context, a *upstream.Attempt) (parts.Answer, error) {
			one := *a
			asked = append(asked, &one)
			return parts.Answer{Body: []byte(strconv.Itoa(len(asked)))}, nil
		}), a, func(body []byte) (*llm.Step, error) {
			switch string(body) {
			case "1":
				return &llm.Step{Method: "GET", URL: tt.url, Bytes: true}, nil
			case "2":
				return &llm.Step{Path: "/thanks"}, nil
			}
			return nil, nil
		})
		if tt.asked == "" {
			if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Upstream || len(asked) != 1 {
				t.Errorf("%s: got %v after %d requests", tt.url, err, len(asked))
			}
			continue
		}
		if err != nil || len(asked) != 3 {
			t.Errorf("%s: got %v after %d requests", tt.url, err, len(asked))
			continue
		}
		if one := asked[1]; one.Method+" "+one.Base+one.Path != tt.asked || !one.Foreign || one.Public != tt.public || !one.Opaque {
			t.Errorf("%s: asked %s %s%s, %v, %v", tt.url, one.Method, one.Base, one.Path, one.Foreign, one.Public)
		}
		if one := asked[2]; one.Base != tt.base || one.Foreign || one.Public || one.Opaque {
			t.Errorf("%s: went on with %+v", tt.url, one)
		}
	}
}

// running is a stream that runs until its context ends.
type running struct {
	parts.Stream
	ctx context.Context //nolint:containedctx // of the attempt
}

func (r *running) Close() {}

// TestDo_Stream: the time of an exchange that ends with a stream runs on, until the stream is closed.
func TestDo_Stream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var last *running
		got, err := follow.Do(t.Context(), upstreamFunc(func(ctx context.Context, a *upstream.Attempt) (parts.Answer, error) {
			if a.Path == "" {
				return parts.Answer{Body: []byte("wait")}, nil
			}
			last = &running{ctx: ctx}
			return parts.Answer{Stream: last}, nil
		}), attempt(time.Minute), polls)
		if err != nil || got.Stream == nil || last.ctx.Err() != nil {
			t.Fatalf("got %+v, %v", got, err)
		}
		got.Stream.Close()
		if last.ctx.Err() == nil {
			t.Error("the context of a closed stream goes on")
		}
	})
}
