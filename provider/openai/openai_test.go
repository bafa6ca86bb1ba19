package openai_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/openai"
	"github.com/conclave-llm/conclave/provider/providertest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	p, ok := provider.Lookup("openai")
	if !ok {
		t.Fatal("no row")
	}
	providertest.Run(t, p, "testdata/answers.jsonl", "testdata/errors.jsonl")
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		header map[string]string
		want   time.Duration
	}{
		{"none", nil, 0},
		{"seconds", map[string]string{"Retry-After": "20"}, 20 * time.Second},
		{"fraction", map[string]string{"Retry-After": " 0.25 "}, 250 * time.Millisecond},
		{"milliseconds come first", map[string]string{"Retry-After": "20", "Retry-After-Ms": "1500"}, 1500 * time.Millisecond},
		{"date", map[string]string{"Retry-After": "Fri, 02 Jan 2026 03:05:05 GMT"}, time.Minute},
		{"date in the past", map[string]string{"Retry-After": "Fri, 02 Jan 2026 03:04:00 GMT"}, 0},
		{"negative", map[string]string{"Retry-After": "-5"}, 0},
		{"not a number", map[string]string{"Retry-After": "NaN"}, 0},
		{"without end", map[string]string{"Retry-After": "Inf"}, 24 * time.Hour},
		{"years", map[string]string{"Retry-After": "999999999999"}, 24 * time.Hour},
		{"nonsense", map[string]string{"Retry-After": "soon"}, 0},
		{"reset of what is used up", map[string]string{"X-Ratelimit-Remaining-Requests": "5", "X-Ratelimit-Reset-Requests": "1h", "X-Ratelimit-Remaining-Tokens": "0", "X-Ratelimit-Reset-Tokens": "6m0s"}, 6 * time.Minute},
		{"the later reset", map[string]string{"X-Ratelimit-Reset-Requests": "20ms", "X-Ratelimit-Reset-Tokens": "1.5"}, 1500 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := make(http.Header)
			for k, v := range tt.header {
				h.Set(k, v)
			}
			if got := openai.RetryAfter(providertest.Now, h); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestClassify_Headers(t *testing.T) {
	t.Parallel()
	h := http.Header{
		"X-Request-Id": {"r"}, "X-Ratelimit-Remaining-Tokens": {"0"}, "Retry-After": {"1"}, "Openai-Processing-Ms": {"3"},
		"Set-Cookie": {"secret"}, "Server": {"x"}, "Openai-Organization": {"acme"},
	}
	e := openai.Codec{}.Classify(providertest.Now, 429, h, nil)
	if len(e.Header) != 4 || e.Header.Get("X-Request-Id") != "r" {
		t.Errorf("got %v", e.Header)
	}
}

func FuzzClassify(f *testing.F) {
	f.Add(400, []byte(`{"error":{"message":"m","type":"t","param":null,"code":5}}`))
	f.Add(200, []byte(`{"error":"x"}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		e := openai.Codec{}.Classify(providertest.Now, status, nil, body)
		if e == nil || e.Message == "" || e.HTTPStatus() < 400 {
			t.Fatalf("got %+v", e)
		}
	})
}
