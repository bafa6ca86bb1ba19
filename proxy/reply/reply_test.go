package reply_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/resource"
)

func TestHeaders(t *testing.T) {
	t.Parallel()
	var h reply.Headers
	h.Add("A", "x")
	h.Int("B", -5)
	h.Money("C", 1_500_000_000)
	h.Money("D", 7*resource.Dollar)
	h.Millis("E", 1250*time.Microsecond)
	got := http.Header{}
	h.Apply(got)
	want := http.Header{"A": {"x"}, "B": {"-5"}, "C": {"1.5"}, "D": {"7"}, "E": {"1.25"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestWriteError(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		err    *llm.Error
		status int
		header map[string]string
		body   string
	}{
		{
			"budget", &llm.Error{
				Kind: llm.OverBudget, Message: "spent", Scope: "key", Entity: "key_1", NoRetry: true,
				ResetsAt: time.Date(2030, 1, 2, 0, 0, 0, 0, time.UTC),
			}, 429,
			map[string]string{"X-Should-Retry": "false", "X-Conclave-Error-Origin": "gateway"},
			`{"error":{"message":"spent","type":"budget_exceeded","param":null,"code":"budget_exceeded","scope":"key","entity":"key_1","resets_at":"2030-01-02T00:00:00Z"}}`,
		},
		{
			"provider's own", &llm.Error{Kind: llm.RateLimited, Status: 429, Body: []byte(`{"x":1}`), RetryAfter: 1500 * time.Millisecond},
			429,
			map[string]string{"Retry-After": "2", "X-Conclave-Error-Origin": "provider", "Content-Type": "application/json"},
			`{"x":1}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rec := httptest.NewRecorder()
			var w reply.HTTPWriter
			w.Reset(rec, 0)
			reply.WriteError(&w, tt.err, llm.VendorOpenAI)
			if rec.Code != tt.status || rec.Body.String() != tt.body {
				t.Errorf("got %d %s", rec.Code, rec.Body)
			}
			for name, want := range tt.header {
				if got := rec.Header().Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
		})
	}
}

// TestWriteError_Anthropic: the shape is the client's.
func TestWriteError_Anthropic(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	var w reply.HTTPWriter
	w.Reset(rec, 0)
	reply.WriteError(&w, &llm.Error{Kind: llm.NotFound, Message: "gone"}, llm.VendorAnthropic)
	want := `{"type":"error","error":{"type":"not_found_error","message":"gone","code":"model_not_found"}}`
	if rec.Code != 404 || rec.Body.String() != want {
		t.Errorf("got %d %s, want %s", rec.Code, rec.Body, want)
	}
}
