package gemini_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/gemini"
	"github.com/conclave-llm/conclave/provider/providertest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	p, ok := provider.Lookup("gemini")
	if !ok {
		t.Fatal("no row")
	}
	providertest.Run(t, p, "testdata/answers.jsonl", "testdata/errors.jsonl")
}

func TestCodec_Path(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		place llm.Place
		want  string
	}{
		{llm.Place{Endpoint: llm.GenerateContent, Model: "gemini-2.5-pro"}, "/models/gemini-2.5-pro:generateContent"},
		{llm.Place{Endpoint: llm.GenerateContent, Model: "models/gemini-2.5-pro", Stream: true}, "/models/gemini-2.5-pro:streamGenerateContent?alt=sse"},
		{llm.Place{Endpoint: llm.GenerateContent, Model: "tunedModels/my-1"}, "/tunedModels/my-1:generateContent"},
		{llm.Place{Endpoint: llm.GenerateContent, Model: "a/b?c"}, "/models/a%2Fb%3Fc:generateContent"},
		{llm.Place{Endpoint: llm.CountContent, Model: "gemini-2.5-pro", Stream: true}, "/models/gemini-2.5-pro:countTokens"},
	} {
		if got := (gemini.Codec{}).Path(tt.place); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

// TestMeter: the usage of a stream is what its last event says, and an event without any does not
// take it away.
func TestMeter(t *testing.T) {
	t.Parallel()
	m := gemini.Codec{}.Meter(llm.GenerateContent)
	for i, tt := range []struct {
		data   string
		output int64
		done   bool
	}{
		{`{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":1,"totalTokenCount":6}}`, 1, false},
		{`{"candidates":[{"content":{"parts":[{"text":"b"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":2,"totalTokenCount":7}}`, 2, true},
		{`{"candidates":[]}`, 2, false},
	} {
		r, err := m.Event(llm.Event{Data: []byte(tt.data)})
		if err != nil || r.Usage.Output != tt.output || r.Usage.Input != 5 || !r.HasUsage || (r.Finished == 1) != tt.done || r.Done {
			t.Errorf("event %d: got %+v, %v", i, r, err)
		}
	}
	if _, err := m.Event(llm.Event{Data: []byte(`{"candidates":`)}); err == nil {
		t.Error("half an event is read")
	}
}

func TestAppendError(t *testing.T) {
	t.Parallel()
	type detail struct {
		Type       string            `json:"@type"`
		Reason     string            `json:"reason"`
		RetryDelay string            `json:"retryDelay"`
		Metadata   map[string]string `json:"metadata"`
	}
	for _, tt := range []struct {
		name   string
		e      llm.Error
		status string
		code   int
		want   func([]detail) bool
	}{
		{
			"budget",
			llm.Error{Kind: llm.OverBudget, Code: "budget_exceeded", Message: "Spent.", Scope: "key", Entity: "k\"1", ResetsAt: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)},
			"RESOURCE_EXHAUSTED", 429,
			func(d []detail) bool {
				return len(d) == 1 && d[0].Reason == "budget_exceeded" && d[0].Metadata["entity"] == `k"1` && d[0].Metadata["resets_at"] == "2026-02-01T00:00:00Z"
			},
		},
		{"limit", llm.Error{Kind: llm.RateLimited, RetryAfter: 1500 * time.Millisecond}, "RESOURCE_EXHAUSTED", 429, func(d []detail) bool { return len(d) == 1 && d[0].RetryDelay == "1.5s" }},
		{"both", llm.Error{Kind: llm.Unavailable, Code: "c", RetryAfter: time.Second}, "UNAVAILABLE", 503, func(d []detail) bool { return len(d) == 2 && d[1].RetryDelay == "1s" }},
		{"key", llm.Error{Kind: llm.Unauthenticated}, "UNAUTHENTICATED", 401, func(d []detail) bool { return d == nil }},
		{"Google's own word", llm.Error{Kind: llm.Invalid, Type: "FAILED_PRECONDITION", Param: "contents", Code: "x"}, "FAILED_PRECONDITION", 400, func(d []detail) bool { return d[0].Metadata["param"] == "contents" }},
		{"teapot", llm.Error{Kind: llm.Invalid, Status: 418}, "INVALID_ARGUMENT", 418, func(d []detail) bool { return d == nil }},
		{"odd", llm.Error{Status: 599}, "INTERNAL", 599, func(d []detail) bool { return d == nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got struct {
				Error struct {
					Code    int
					Message string
					Status  string
					Details []detail
				}
			}
			body := gemini.AppendError(nil, &tt.e)
			if err := json.Unmarshal(body, &got); err != nil {
				t.Fatalf("%v: %s", err, body)
			}
			if e := got.Error; e.Code != tt.code || e.Status != tt.status || e.Message == "" && http.StatusText(tt.code) != "" || !tt.want(e.Details) {
				t.Errorf("got %s", body)
			}
			if event := string(gemini.AppendErrorEvent(nil, &tt.e)); event != "data: "+string(body)+"\r\n\r\n" {
				t.Errorf("got %q", event)
			}
			// What is written can be read again.
			back := gemini.Codec{}.Classify(providertest.Now, tt.code, nil, body)
			if back.RetryAfter != tt.e.RetryAfter && back.Kind == tt.e.Kind {
				t.Errorf("got %+v", back)
			}
		})
	}
}

// TestArray: however the bytes of a stream come, its array is the same.
func TestArray(t *testing.T) {
	t.Parallel()
	stream := "data: {\"a\":1}\r\n\r\n: a comment\r\n\r\ndata:{\"b\":\ndata: 2}\n\nevent: x\ndata: {\"c\":3}\n\n"
	want := "[{\"a\":1},\r\n{\"b\":\n2},\r\n{\"c\":3}]"
	for cut := range len(stream) + 1 {
		var a gemini.Array
		got := a.End(a.Append(a.Append(nil, []byte(stream[:cut])), []byte(stream[cut:])))
		if string(got) != want {
			t.Fatalf("cut at %d: got %q, want %q", cut, got, want)
		}
	}
	var none gemini.Array
	if got := string(none.End(nil)); got != "[]" {
		t.Errorf("got %q of nothing", got)
	}
	if !json.Valid([]byte(strings.ReplaceAll(want, "\r", ""))) {
		t.Error("the array is none")
	}
}
