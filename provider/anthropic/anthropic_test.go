package anthropic_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/anthropic"
	"github.com/conclave-llm/conclave/provider/providertest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	p, ok := provider.Lookup("anthropic")
	if !ok {
		t.Fatal("no row")
	}
	providertest.Run(t, p, "testdata/answers.jsonl", "testdata/errors.jsonl")
}

func TestRow(t *testing.T) {
	t.Parallel()
	p, _ := provider.Lookup("anthropic")
	for e, want := range map[llm.Endpoint]string{
		llm.Messages: "https://api.anthropic.com/v1/messages", llm.CountTokens: "https://api.anthropic.com/v1/messages/count_tokens",
	} {
		if got, err := p.URL("", llm.Place{Endpoint: e, Model: "m"}); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	if p.Header["Anthropic-Version"] != "2023-06-01" || p.Auth != provider.XAPIKey {
		t.Errorf("got %+v", p)
	}
	for _, name := range p.Forward {
		if name != http.CanonicalHeaderKey(name) {
			t.Errorf("%q is not canonical", name)
		}
	}
}

// TestMeter reads a stream to its end.
func TestMeter(t *testing.T) {
	t.Parallel()
	m := anthropic.Codec{}.Meter(llm.Messages)
	var sum llm.Report
	r := llm.NewSSEReader(strings.NewReader(stream), 0)
	for !sum.Done {
		e, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Event(e)
		if err != nil || got.HasError || sum.Finished != 0 && got.Seen != 1 {
			t.Fatalf("%s: got %+v, %v", e.Data, got, err)
		}
		if got.HasUsage {
			sum.Usage = got.Usage
		}
		sum.TextBytes += got.TextBytes
		sum.Finished |= got.Finished
		sum.Done = got.Done
	}
	u := sum.Usage
	if u.Input != 25 || u.CacheRead != 7 || u.CacheWrite != 5 || u.CacheWrite1h != 4 || u.Output != 15 || sum.Finished != 1 || sum.TextBytes < 40 {
		t.Errorf("got %+v", sum)
	}
	for _, data := range []string{`{"type":"error","error":{"type":"api_error","message":"m"}}`, `{"error":{}}`} {
		if got, err := m.Event(llm.Event{Data: []byte(data)}); err != nil || !got.HasError {
			t.Errorf("%s: got %+v, %v", data, got, err)
		}
	}
	for _, data := range []string{``, `null`, `[]`, `{"type":`} {
		if got, err := m.Event(llm.Event{Data: []byte(data)}); err == nil {
			t.Errorf("%q: got %+v", data, got)
		}
	}
}

func TestAppendError(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		in   llm.Error
		want string
	}{
		{"its own type", llm.Error{Kind: llm.Unavailable, Status: 529, Type: "overloaded_error", Message: "Overloaded", Header: http.Header{"Request-Id": {"req_1"}}}, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}`},
		{"a type of OpenAI's", llm.Error{Kind: llm.RateLimited, Type: "tokens", Code: "rate_limit_exceeded", Message: "m"}, `{"type":"error","error":{"type":"rate_limit_error","message":"m","code":"rate_limit_exceeded"}}`},
		{"budget", llm.Error{Kind: llm.OverBudget, Type: "budget_exceeded", Code: "budget_exceeded", Scope: "key", Entity: "k", ResetsAt: time.Unix(0, 0), Message: "m"}, `{"type":"error","error":{"type":"budget_exceeded","message":"m","code":"budget_exceeded","scope":"key","entity":"k","resets_at":"1970-01-01T00:00:00Z"}}`},
		{"no message", llm.Error{Kind: llm.Forbidden, Param: "model"}, `{"type":"error","error":{"type":"permission_error","message":"Forbidden","param":"model"}}`},
		{"401", llm.Error{Kind: llm.Unauthenticated, Message: "m"}, `{"type":"error","error":{"type":"authentication_error","message":"m"}}`},
		{"402", llm.Error{Kind: llm.OverBudget, Status: 402, Message: "m"}, `{"type":"error","error":{"type":"billing_error","message":"m"}}`},
		{"404", llm.Error{Kind: llm.NotFound, Type: "invalid_request_error", Message: "m"}, `{"type":"error","error":{"type":"not_found_error","message":"m"}}`},
		{"413", llm.Error{Kind: llm.TooLarge, Message: "m"}, `{"type":"error","error":{"type":"request_too_large","message":"m"}}`},
		{"400", llm.Error{Kind: llm.Blocked, Message: "a\nb"}, `{"type":"error","error":{"type":"invalid_request_error","message":"a\nb"}}`},
		{"500", llm.Error{Kind: llm.Internal, Message: "m"}, `{"type":"error","error":{"type":"api_error","message":"m"}}`},
		{"503", llm.Error{Kind: llm.Unavailable, Message: "m"}, `{"type":"error","error":{"type":"overloaded_error","message":"m"}}`},
		{"504", llm.Error{Kind: llm.Timeout, Message: "m"}, `{"type":"error","error":{"type":"timeout_error","message":"m"}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := string(anthropic.AppendError(nil, &tt.in)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			event := string(anthropic.AppendErrorEvent(nil, &tt.in))
			if want := "event: error\ndata: " + tt.want + "\n\n"; event != want {
				t.Errorf("got  %q\nwant %q", event, want)
			}
		})
	}
}

func TestClassify_Headers(t *testing.T) {
	t.Parallel()
	h := http.Header{"Request-Id": {"r"}, "Anthropic-Ratelimit-Tokens-Remaining": {"0"}, "Anthropic-Organization-Id": {"acme"}, "Set-Cookie": {"x"}}
	e := anthropic.Codec{}.Classify(providertest.Now, 429, h, nil)
	if len(e.Header) != 2 || e.Header.Get("Request-Id") != "r" {
		t.Errorf("got %v", e.Header)
	}
}

func FuzzClassify(f *testing.F) {
	f.Add(400, []byte(`{"type":"error","error":{"type":"invalid_request_error","message":"m"}}`))
	f.Add(200, []byte(`{"error":{"type":"overloaded_error"}}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		e := anthropic.Codec{}.Classify(providertest.Now, status, nil, body)
		if e == nil || e.Message == "" || e.HTTPStatus() < 400 {
			t.Fatalf("got %+v", e)
		}
	})
}

func FuzzMeter(f *testing.F) {
	f.Add([]byte(`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}`))
	f.Add([]byte(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := anthropic.Codec{}.Meter(llm.Messages).Event(llm.Event{Data: data})
		if err == nil && (r.TextBytes < 0 || r.Usage.Total() < 0) {
			t.Fatalf("got %+v", r)
		}
		if r, err := (anthropic.Codec{}).Read(llm.Messages, data); err == nil && r.TextBytes < 0 {
			t.Fatalf("got %+v", r)
		}
	})
}
