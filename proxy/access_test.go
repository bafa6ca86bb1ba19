package proxy_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

func TestMinIndex(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, header string
		reached      bool
		status       int
		gen, index   uint64
	}{
		{"reached", "9", true, 200, 0, 9},
		{"of a generation", "2-9", true, 200, 2, 9},
		{"not reached", "9", false, 503, 0, 9},
		{"not a number", "x", true, 400, 0, 0},
		{"not a generation", "x-9", true, 400, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			var gen, index uint64
			r.cfg.WaitIndex = func(ctx context.Context, g, i uint64) error {
				gen, index = g, i
				if _, ok := ctx.Deadline(); !ok {
					t.Error("waits for ever")
				}
				if !tt.reached {
					return errBoom
				}
				return nil
			}
			w := r.do("POST", "/v1/chat/completions", chatBody, header("X-Conclave-Min-Index", tt.header))
			if w.Code != tt.status || gen != tt.gen || index != tt.index {
				t.Errorf("got %d, waited for %d-%d", w.Code, gen, index)
			}
		})
	}
}

// A key that the awaited index blocks is refused.
func TestMinIndex_Blocks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.WaitIndex = func(context.Context, uint64, uint64) error {
		r.keys[resource.HashSecret(goodKey)] = &resource.Key{Hash: resource.HashSecret(goodKey), Blocked: true}
		return nil
	}
	if w := r.do("POST", "/v1/chat/completions", chatBody, header("X-Conclave-Min-Index", "9")); w.Code != 401 {
		t.Errorf("got %d", w.Code)
	}
}

func TestModels(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		path, key string
		status    int
		has       []string
		not       []string
	}{
		{"/v1/models", goodKey, 200, []string{`"demo"`, `"other"`, `"object":"list"`}, []string{"secret"}},
		{"/models", masterKey, 200, []string{`"demo"`, `"secret"`}, nil},
		{"/v1/models/demo", goodKey, 200, []string{`"id":"demo"`, `"owned_by":"openai"`}, nil},
		{"/v1/models/secret", goodKey, 404, []string{"model_not_found"}, nil},
		{"/v1beta/models", goodKey, 200, []string{`{"models":[`, `"name":"models/demo"`, `"supportedGenerationMethods":["generateContent"`}, []string{"secret"}},
		{"/v1beta/models/demo", goodKey, 200, []string{`"name":"models/demo"`, `"displayName":"demo"`}, nil},
		{"/v1beta/models/secret", goodKey, 404, []string{`"status":"NOT_FOUND"`}, nil},
		{"/v1/models/openai/gpt", masterKey, 404, []string{`openai/gpt`}, nil},
	} {
		t.Run(tt.path, func(t *testing.T) {
			t.Parallel()
			w := newRig(t).do("GET", tt.path, "", header("Authorization", "Bearer "+tt.key))
			if w.Code != tt.status {
				t.Errorf("got %d, want %d", w.Code, tt.status)
			}
			for _, s := range tt.has {
				if !strings.Contains(w.Body.String(), s) {
					t.Errorf("%s lacks %s", w.Body, s)
				}
			}
			for _, s := range tt.not {
				if strings.Contains(w.Body.String(), s) {
					t.Errorf("%s has %s", w.Body, s)
				}
			}
		})
	}
}

// TestModels_Anthropic: a client of Anthropic's reads its own shape.
func TestModels_Anthropic(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/v1/models":      `{"data":[{"type":"model","id":"demo","display_name":"demo","created_at":"2023-02-28T18:56:42Z"},{"type":"model","id":"other","display_name":"other","created_at":"2023-02-28T18:56:42Z"}],"first_id":"demo","last_id":"other","has_more":false}`,
		"/v1/models/demo": `{"type":"model","id":"demo","display_name":"demo","created_at":"2023-02-28T18:56:42Z"}`,
	} {
		if w := newRig(t).do("GET", path, "", header("Anthropic-Version", "2023-06-01")); w.Code != 200 || w.Body.String() != want {
			t.Errorf("%s: got %d %s", path, w.Code, w.Body)
		}
	}
}

func TestUnknownPaths(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{"POST", "/v1/nothing", 404},
		{"GET", "/v1/embeddings", 405},
		{"DELETE", "/v1/models", 405},
	} {
		w := newRig(t).do(tt.method, tt.path, "")
		if w.Code != tt.status {
			t.Errorf("%s %s got %d, want %d", tt.method, tt.path, w.Code, tt.status)
		}
		codeOf(t, w.Body.String())
	}
}

// The model in the path counts, and the key is judged by it.
func TestModelInPath(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		path   string
		body   string
		status int
		sent   string
	}{
		{"/openai/deployments/demo/chat/completions", `{"messages":[]}`, 200, `{"messages":[],"model":"gpt-x"}`},
		{"/engines/demo/chat/completions", `{"model":"secret","messages":[]}`, 200, `{"model":"gpt-x","messages":[]}`},
		{"/engines/secret/chat/completions", `{"model":"demo"}`, 403, ""},
		{"/engines/sec%72et/chat/completions", `{"model":"demo"}`, 403, ""},
		{"/v1/chat/completions", `{}`, 400, ""},
		{"/v1/chat/completions", `{"model":"missing"}`, 404, ""},
	} {
		t.Run(tt.path+tt.body, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			sent := ""
			next := r.upstream
			r.upstream = func(ctx context.Context, a *upstream.Attempt) (proxy.Answer, error) {
				sent = string(a.Body)
				return next(ctx, a)
			}
			if w := r.do("POST", tt.path, tt.body); w.Code != tt.status || sent != tt.sent {
				t.Errorf("got %d %s, sent %s", w.Code, w.Body, sent)
			}
		})
	}
}

// What tricks a router that looks at more than the path gets no further than without a key.
func TestHostileTargets(t *testing.T) {
	t.Parallel()
	for _, edit := range []func(*http.Request){
		header("X-Original-Url", "/health"), header("X-Rewrite-Url", "/health"), header("X-Forwarded-Host", "localhost"),
		header("X-Forwarded-Prefix", "/public"),
		func(q *http.Request) { q.Host = "localhost/health?x=#@" },
		func(q *http.Request) { q.URL.Path = "//v1/chat/completions" },
		func(q *http.Request) { q.URL.Path = "/health/../v1/chat/completions" },
		func(q *http.Request) { q.URL.Path = "/v1/chat/completions;x" },
		func(q *http.Request) { q.URL.RawPath, q.URL.Path = "/v1%2fchat/completions", "/v1/chat/completions" },
	} {
		r := newRig(t)
		r.upstream = func(context.Context, *upstream.Attempt) (proxy.Answer, error) {
			t.Error("asked an upstream without a key")
			return proxy.Answer{}, errBoom
		}
		if w := r.do("POST", "/v1/chat/completions", chatBody, header("Authorization", ""), edit); w.Code < 300 {
			t.Errorf("got %d", w.Code)
		}
	}
}

func TestBody(t *testing.T) {
	t.Parallel()
	big := `{"model":"demo","pad":"` + strings.Repeat("x", 100_000) + `"}`
	for _, tt := range []struct {
		name   string
		edit   func(*http.Request)
		most   int64
		status int
	}{
		{"announced", func(*http.Request) {}, 0, 200},
		{"chunked", func(q *http.Request) { q.ContentLength = -1 }, 0, 200},
		{"shorter than announced", func(q *http.Request) { q.ContentLength += 10; q.Body = io.NopCloser(&short{strings.NewReader(big)}) }, 0, 400},
		{"compressed", compressed("gzip", zipped(t, big)), 0, 200},
		{"compressed, not as it says", header("Content-Encoding", "gzip"), 0, 400},
		{"compressed, chunked", func(q *http.Request) { compressed("gzip", zipped(t, big))(q); q.ContentLength = -1 }, 0, 200},
		{"compressed otherwise", header("Content-Encoding", "br"), 0, 415},
		{"compressed, too large", compressed("gzip", zipped(t, strings.Repeat(" ", 33<<20))), -1, 413},
		{"too many bytes held", func(*http.Request) {}, 1000, 503},
		{"large in the end", func(q *http.Request) {
			q.ContentLength = -1
			q.Body = io.NopCloser(bytes.NewReader(make([]byte, 33<<20)))
		}, -1, 413},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.cfg.MaxBytes = tt.most
			for range 2 { // the second finds a used buffer
				if w := r.do("POST", "/v1/chat/completions", big, tt.edit); w.Code != tt.status {
					t.Fatalf("got %d %s, want %d", w.Code, w.Body, tt.status)
				}
			}
		})
	}
}

// zipped is a text in gzip.
func zipped(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// compressed puts a body that is compressed in the place of another.
func compressed(encoding string, raw []byte) func(*http.Request) {
	return func(q *http.Request) {
		q.Header.Set("Content-Encoding", encoding)
		q.Body, q.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
	}
}

type short struct{ io.Reader }

func (s *short) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		sent string
		kept bool
	}{
		{"abc-1.2:3_X", true}, {"", false}, {"a b", false}, {"a\nb", false}, {strings.Repeat("a", 129), false}, {"ü", false},
	} {
		r := newRig(t)
		w := r.do("POST", "/v1/chat/completions", chatBody, header("X-Request-Id", tt.sent))
		got := w.Header().Get("X-Conclave-Request-Id")
		if got == "" || (got == tt.sent) != tt.kept || w.Header().Get("X-Litellm-Call-Id") != got {
			t.Errorf("sent %q, got %q", tt.sent, got)
		}
		if r.journal.settled[0].RequestID != got {
			t.Errorf("recorded %q, sent %q", r.journal.settled[0].RequestID, got)
		}
	}
}

func TestBudgetStatus(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	overBudget(r, nil)
	r.tables.Settings = []*resource.Setting{{Meta: resource.Meta{ID: "budget_exceeded_status_code"}, Value: []byte("402")}}
	w := r.do("POST", "/v1/chat/completions", chatBody)
	for _, want := range []string{`"type":"budget_exceeded"`, `"code":"budget_exceeded"`, `"scope":"team"`, `"resets_at":"1970-01-01T00:00:01Z"`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s lacks %s", w.Body, want)
		}
	}
	if w.Code != 402 {
		t.Errorf("got %d, want the setting's 402", w.Code)
	}
}

// The same deployment is asked again only after a pause, and not if that cannot help.
func TestRepeat(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		err    *llm.Error
		tries  int
		atMost time.Duration
		least  time.Duration
	}{
		{"overloaded", &llm.Error{Kind: llm.Unavailable}, 3, 3 * time.Second, 1500 * time.Millisecond},
		{"says when", &llm.Error{Kind: llm.RateLimited, RetryAfter: 2 * time.Second}, 3, 5 * time.Second, 4 * time.Second},
		{"wants to be left alone", &llm.Error{Kind: llm.RateLimited, RetryAfter: time.Minute}, 1, 0, 0},
		{"bad credential", &llm.Error{Kind: llm.Upstream, Code: "upstream_credentials"}, 1, 0, 0},
		{"no such model there", &llm.Error{Kind: llm.NotFound}, 1, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.tables.Deployments = r.tables.Deployments[:1]
				r.cfg.Router = r.router.Router // plans for real
				tries := 0
				r.upstream = func(context.Context, *upstream.Attempt) (proxy.Answer, error) {
					tries++
					return proxy.Answer{}, tt.err
				}
				began := time.Now()
				w := r.do("POST", "/v1/chat/completions", chatBody)
				if took := time.Since(began); tries != tt.tries || took < tt.least || took > tt.atMost || w.Code < 400 {
					t.Errorf("%d attempts in %v, want %d", tries, took, tt.tries)
				}
				r.checkBalance()
			})
		})
	}
}
