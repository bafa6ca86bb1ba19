package upstream_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/modelserver"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/upstream"
)

// house is a plugin that begins its answer after a time, and goes on with it after another.
type house struct {
	begins, goesOn time.Duration
	answer         *http.Response
	err            error
}

func (h *house) RoundTrip(ctx context.Context, name string, q *modelserver.Question) (*http.Response, error) {
	if name != "house@1" || q.Model != "m" || q.ID != "r1" || string(q.Body) != "{}" {
		return nil, errors.New("asked for something else")
	}
	select {
	case <-time.After(h.begins):
		return h.answer, h.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (h *house) Probe(context.Context, string) error { return h.err }

// slow gives its first part at once, and the second after a time.
type slow struct {
	first io.Reader
	after time.Duration
}

func (s *slow) Read(p []byte) (int, error) {
	if n, _ := s.first.Read(p); n > 0 {
		return n, nil
	}
	<-time.After(s.after)
	return 0, errors.New("the process ended")
}

func (s *slow) Close() error { return nil }

func streamOf(body io.ReadCloser) *http.Response {
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: body, ContentLength: -1}
}

func failed(status int, body string, h http.Header) *http.Response {
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}

// TestClient_Plugin: what holds for an attempt over HTTP holds for one at a plugin.
func TestClient_Plugin(t *testing.T) {
	t.Parallel()
	row, ok := provider.Lookup("plugin/house")
	if !ok {
		t.Fatal("plugins have no row")
	}
	busy := `{"error":{"message":"busy","code":"overloaded"}}`
	for _, tt := range []struct {
		name string
		h    house
		kind llm.Kind
		code string
		rest time.Duration
	}{
		{"it does not begin in time", house{begins: time.Hour}, llm.Timeout, "timeout_first_token", 0},
		{"it does not go on in time", house{goesOn: time.Hour}, llm.Timeout, "timeout_between_chunks", 0},
		{"it ends within a stream", house{goesOn: time.Millisecond}, llm.Upstream, "upstream_cut", 0},
		{"it is busy", house{answer: failed(503, busy, http.Header{"Retry-After-Ms": {"1500"}})}, llm.Unavailable, "overloaded", 1500 * time.Millisecond}, //nolint:bodyclose // the client closes it
		{"its key is wrong", house{answer: failed(401, busy, http.Header{})}, llm.Upstream, "upstream_credentials", 0},                                    //nolint:bodyclose // the client closes it
		{"it does not run", house{err: &llm.Error{Kind: llm.Unavailable, Code: "provider_plugin_not_running"}}, llm.Unavailable, "provider_plugin_not_running", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				if tt.h.goesOn > 0 {
					tt.h.answer = streamOf(&slow{first: strings.NewReader("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n"), after: tt.h.goesOn}) //nolint:bodyclose // the client closes it
				}
				c := upstream.New(upstream.Config{Plugins: &tt.h})
				defer c.Close()
				a, err := c.Do(t.Context(), &upstream.Attempt{
					Provider: row, Endpoint: llm.Chat, Model: "m", Plugin: "house@1", ID: "r1", Body: []byte("{}"), Stream: true,
					Timeouts: upstream.Timeouts{FirstToken: time.Second, Idle: time.Minute, Total: 2 * time.Hour},
				})
				if err == nil {
					defer a.Close()
					for err == nil {
						_, err = a.Stream.Next()
					}
				}
				e, ok := errors.AsType[*llm.Error](err)
				if !ok || e.Kind != tt.kind || e.Code != tt.code || e.RetryAfter != tt.rest {
					t.Errorf("got %v (%+v)", err, e)
				}
			})
		})
	}
	none := upstream.New(upstream.Config{})
	defer none.Close()
	if _, err := none.Do(t.Context(), &upstream.Attempt{Provider: row, Plugin: "house@1"}); err == nil {
		t.Error("a client without plugins asks one")
	}
	if _, err := none.Do(t.Context(), &upstream.Attempt{Provider: row, Endpoint: llm.Chat, Base: ""}); err == nil {
		t.Error("a plugin has an address")
	}
}
