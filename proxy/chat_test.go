package proxy_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

const chatBody = `{"model":"demo","messages":[{"role":"user","content":"hi"}],"future_field":{"a":1}}`

func TestChat_Whole(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var sent *upstream.Attempt
	next := r.upstream
	r.upstream = func(ctx context.Context, a *upstream.Attempt) (proxy.Answer, error) {
		sent = &upstream.Attempt{Body: append([]byte(nil), a.Body...)}
		return next(ctx, a)
	}
	w := r.do("POST", "/v1/chat/completions", chatBody)
	if w.Code != 200 || w.Body.String() != answerBody {
		t.Fatalf("got %d %s, want the upstream's bytes", w.Code, w.Body)
	}
	if want := strings.Replace(chatBody, "demo", "gpt-x", 1); string(sent.Body) != want {
		t.Errorf("sent %s, want %s", sent.Body, want)
	}
	r.checkBalance()
	if r.limit.tokens != 30 || r.money.cost != 50_000 {
		t.Errorf("settled %d tokens and %v, want 30 and 0.00005", r.limit.tokens, r.money.cost)
	}
	for name, want := range map[string]string{
		"X-Conclave-Cost": "0.00005", "X-Litellm-Response-Cost": "0.00005", "X-Conclave-Model-Id": "dep_1",
		"X-Conclave-Attempts": "1", "X-Conclave-Node": "node_a", "X-Ratelimit-Limit-Requests": "60",
		"X-Ratelimit-Remaining-Requests": "59", "X-Ratelimit-Limit-Tokens": "", "Content-Type": "application/json",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("header %s = %q, want %q", name, got, want)
		}
	}
	rec := r.journal.settled[0]
	if rec.Failed() || rec.Status != 200 || rec.DeploymentID != "dep_1" || rec.Usage != usage || r.journal.ids[0] != 1 {
		t.Errorf("recorded %+v under %v", rec, r.journal.ids)
	}
}

func TestChat_Stream(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, extra string
		usageChunk  bool
	}{
		{"usage not asked", "", false},
		{"usage asked", `,"stream_options":{"include_usage":true}`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			settledAt := -1
			w := recorderOf(r)
			r.journal.onSettle = func() { settledAt = w.Body.Len() }
			w.post("/v1/chat/completions", strings.Replace(chatBody, "{", `{"stream":true`+tt.extra+`,`, 1))
			got := w.Body.String()
			if !strings.HasSuffix(got, "data: [DONE]\n\n") || !strings.Contains(got, "llo") {
				t.Fatalf("got %q", got)
			}
			if has := strings.Contains(got, `"usage"`); has != tt.usageChunk {
				t.Errorf("usage chunk relayed: %v, want %v", has, tt.usageChunk)
			}
			if want := len(got) - len("data: [DONE]\n\n"); settledAt != want {
				t.Errorf("settled after %d bytes, want %d: before the last event", settledAt, want)
			}
			if !w.Flushed {
				t.Error("nothing was flushed")
			}
			r.checkBalance()
			if r.journal.settled[0].Usage != usage {
				t.Errorf("usage %+v, want %+v", r.journal.settled[0].Usage, usage)
			}
		})
	}
}

func TestChat_Retry(t *testing.T) {
	t.Parallel()
	providerBody := `{"error":{"message":"slow down","type":"tokens","code":"rate_limit_exceeded"}}`
	limited := &llm.Error{Kind: llm.RateLimited, Status: 429, Body: []byte(providerBody), Header: http.Header{"Retry-After": {"7"}, "Content-Type": {"application/json"}}}
	for _, tt := range []struct {
		name   string
		errs   []error // of the attempts; nil answers
		status int
		code   string
		origin string
		tries  int
	}{
		{"second answers", []error{limited, nil}, 200, "", "", 2},
		{"all limited", []error{limited, limited}, 429, "rate_limit_exceeded", "provider", 2},
		{"client's fault", []error{&llm.Error{Kind: llm.Invalid, Status: 400, Body: []byte(`{"error":{"message":"bad","type":"t","code":"c"}}`)}}, 400, "c", "provider", 1},
		{"our credential", []error{&llm.Error{Kind: llm.Unauthenticated, Status: 401, Body: []byte(`{"error":"sk-prov"}`)}, &llm.Error{Kind: llm.Unauthenticated, Status: 401, Body: []byte(`x`)}}, 502, "conclave_upstream_unauthenticated", "provider", 2},
		{"no answer", []error{&llm.Error{Kind: llm.Upstream}, &llm.Error{Kind: llm.Timeout}}, 504, "conclave_upstream_timeout", "provider", 2},
		{"unknown error", []error{errBoom}, 500, "conclave_internal", "gateway", 1},
	} {
		for _, stream := range []string{"", `"stream":true,`} {
			t.Run(tt.name+stream, func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				tries := 0
				next := r.upstream
				r.upstream = func(ctx context.Context, a *upstream.Attempt) (proxy.Answer, error) {
					tries++
					if err := tt.errs[tries-1]; err != nil {
						return proxy.Answer{}, err
					}
					return next(ctx, a)
				}
				w := r.do("POST", "/v1/chat/completions", strings.Replace(chatBody, "{", "{"+stream, 1))
				if w.Code != tt.status || tries != tt.tries {
					t.Fatalf("got %d %s after %d attempts, want %d after %d", w.Code, w.Body, tries, tt.status, tt.tries)
				}
				if got := w.Header().Get("X-Conclave-Error-Origin"); got != tt.origin {
					t.Errorf("origin %q, want %q", got, tt.origin)
				}
				if tt.code != "" {
					if got := codeOf(t, w.Body.String()); got != tt.code {
						t.Errorf("code %q, want %q", got, tt.code)
					}
				}
				if tt.status == 429 && (w.Body.String() != providerBody || w.Header().Get("Retry-After") != "7") {
					t.Errorf("provider's error was not relayed: %s %v", w.Body, w.Header())
				}
				r.checkBalance()
				if r.router.began != tt.tries {
					t.Errorf("%d flights, want %d", r.router.began, tt.tries)
				}
			})
		}
	}
}

// TestTold: a request does without callbacks, and its provider does not hear of that.
func TestTold(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		body string
		want []string
	}{
		{chatBody, []string{"-langfuse"}},
		{strings.Replace(chatBody, "{", `{"no-log":true,`, 1), []string{resource.NoCallbacks}},
	} {
		r := newRig(t)
		var sent string
		next := r.upstream
		r.upstream = func(ctx context.Context, a *upstream.Attempt) (proxy.Answer, error) {
			sent = string(a.Body)
			return next(ctx, a)
		}
		w := r.do("POST", "/v1/chat/completions", tt.body, header("X-Litellm-Disable-Callbacks", "langfuse"))
		if got := r.journal.settled[0].Callbacks; w.Code != 200 || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %d, callbacks %q, want %q", tt.body, w.Code, got, tt.want)
		}
		if want := strings.Replace(chatBody, "demo", "gpt-x", 1); sent != want {
			t.Errorf("the provider hears %s, want %s", sent, want)
		}
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.keys[resource.HashSecret(goodKey)].Tags = []string{"key"}
	body := strings.Replace(chatBody, "{", `{"tags":["a"],"user":"ann",`, 1)
	w := r.do("POST", "/v1/chat/completions", body, header("X-Litellm-Tags", "b, a,,c"), header("X-Litellm-End-User-Id", "bob"))
	rec := r.journal.settled[0]
	if diff := cmp.Diff([]string{"a", "b", "c", "key"}, rec.Tags); diff != "" || rec.User != "bob" || w.Code != 200 {
		t.Errorf("%d, user %q, tags %s", w.Code, rec.User, diff)
	}
}
