package llm_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
)

// TestRead has what is odd; package provider/openai has golden answers, package pricing usages.
func TestRead(t *testing.T) {
	t.Parallel()
	provided := func(u llm.Usage) llm.Usage { u.Source = llm.UsageProvider; return u }
	for _, tt := range []struct {
		name, in string
		want     llm.Report
	}{
		{"empty", `{}`, llm.Report{}},
		{"no usage", `{"usage":null,"choices":null}`, llm.Report{}},
		{"usage without numbers", `{"usage":{}}`, llm.Report{}},
		{"usage of another kind", `{"usage":[1]}`, llm.Report{}},
		{"negative, broken and huge numbers", `{"usage":{"prompt_tokens":-5,"completion_tokens":1.5,"total_tokens":99999999999999999999}}`, llm.Report{}},
		{"choices of another kind", `{"choices":{"a":1}}`, llm.Report{}},
		{"parts", `{"choices":[{"delta":{"content":[{"text":"abc"}]}}]}`, llm.Report{TextBytes: 14, Seen: 1}},
		{"later choice", `{"choices":[{"index":70,"delta":{},"finish_reason":"stop"}]}`, llm.Report{Seen: 1 << 63, Finished: 1 << 63}},
		{"reasoning above the completion", `{"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"completion_tokens_details":{"reasoning_tokens":50}}}`, llm.Report{HasUsage: true, UsageOnly: true, Usage: provided(llm.Usage{Input: 1, Reasoning: 2})}},
		{"total below its parts", `{"usage":{"prompt_tokens":10,"completion_tokens":20,"total_tokens":5}}`, llm.Report{HasUsage: true, UsageOnly: true, Usage: provided(llm.Usage{Input: 10, Output: 20})}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := llm.Read([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("report (-want +got):\n%s", d)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{
		`{"choices":[{"index":0,"delta":{"content":"a","tool_calls":[{"function":{"name":"n","arguments":"{}"}}]},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":20,"prompt_tokens_details":{"cached_tokens":3},"completion_tokens_details":{"reasoning_tokens":2}}}`,
		`{"x_groq":{"usage":{"total_tokens":1}},"error":{"message":"m"}}`, `{"usage":{"prompt_tokens":`, `[]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := llm.Read(in)
		ok, depth := validJSON(in)
		if depth < 1000 && (err == nil) != ok {
			t.Fatalf("%q: got %v, but valid is %v", in, err, ok)
		}
		u := r.Usage
		if sum := u.Prompt() + u.Completion(); sum > 4*llm.MaxTokenCount {
			t.Fatalf("%q: got %+v", in, r)
		}
		for _, n := range []int64{u.Input, u.CacheRead, u.CacheWrite, u.CacheReadAudio, u.CacheReadImage, u.AudioInput, u.ImageInput, u.Output, u.Reasoning, u.AudioOutput, u.ImageOutput, r.TextBytes} {
			if n < 0 || n > 4*llm.MaxTokenCount {
				t.Fatalf("%q: got %+v", in, r)
			}
		}
		if r.Finished&^r.Seen != 0 {
			t.Fatalf("%q: a choice finished that was not seen", in)
		}
	})
}

func TestParseError(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in string
		want     llm.ErrorFields
	}{
		{"openai", `{"error":{"message":"m","type":"t","param":"p","code":"c"}}`, llm.ErrorFields{Message: "m", Type: "t", Param: "p", Code: "c"}},
		{"nulls and numbers", `{"error":{"message":"m","type":null,"code":5}}`, llm.ErrorFields{Message: "m", Code: "5"}},
		{"text", `{"error":"m","code":"c"}`, llm.ErrorFields{Message: "m", Code: "c"}},
		{"at the top", `{"object":"error","message":"m","type":"t","code":1}`, llm.ErrorFields{Message: "m", Type: "t", Code: "1"}},
		{"anthropic", `{"type":"error","error":{"type":"t","message":"m"}}`, llm.ErrorFields{Message: "m", Type: "t"}},
		{"detail", `{"detail":"m"}`, llm.ErrorFields{Message: "m"}},
		{"an object of details", `{"detail":{"message":"m","error_type":"x"}}`, llm.ErrorFields{Message: "m", Detailed: true}},
		{"a list of details", `{"detail":[{"loc":["body","a",0,"b"],"msg":"m","type":"missing"},{"loc":["query"],"msg":"n"}]}`, llm.ErrorFields{Message: "m", Param: "a.0.b", Detailed: true}},
		{"a list of others", `{"detail":["m"]}`, llm.ErrorFields{Detailed: true}},
		{"not JSON", `<html>`, llm.ErrorFields{}},
		{"cut", `{"error":{"message":"m","ty`, llm.ErrorFields{Message: "m"}},
		{"nothing", ``, llm.ErrorFields{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(tt.want, llm.ParseError([]byte(tt.in))); d != "" {
				t.Errorf("fields (-want +got):\n%s", d)
			}
		})
	}
}

func FuzzParseError(f *testing.F) {
	f.Add([]byte(`{"error":{"message":"m","type":"t","param":"p","code":5}}`))
	f.Fuzz(func(_ *testing.T, in []byte) { llm.ParseError(in) })
}

func TestAppendError(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		err  llm.Error
		want string
	}{
		{"plain", llm.Error{Kind: llm.NotFound, Message: "no \"m\"\n", Code: "model_not_found", Param: "model"}, `{"error":{"message":"no \"m\"\n","type":"not_found_error","param":"model","code":"model_not_found"}}`},
		{"budget", llm.Error{Kind: llm.OverBudget, Message: "m", Type: "budget_exceeded", Code: "budget_exceeded", Scope: "team", ResetsAt: time.Unix(0, 0)}, `{"error":{"message":"m","type":"budget_exceeded","param":null,"code":"budget_exceeded","scope":"team","resets_at":"1970-01-01T00:00:00Z"}}`},
		{"no message", llm.Error{Kind: llm.Timeout, Err: errors.New("secret")}, `{"error":{"message":"Gateway Timeout","type":"timeout_error","param":null,"code":null}}`},
		{"status of its own", llm.Error{Kind: llm.OverBudget, Status: 402, Message: "m\x01\xff"}, `{"error":{"message":"m\u0001�","type":"invalid_request_error","param":null,"code":null}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := llm.AppendError(nil, &tt.err)
			if string(got) != tt.want || !json.Valid(got) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	h := make(http.Header)
	llm.SetErrorHeaders(h, &llm.Error{RetryAfter: 1200 * time.Millisecond, NoRetry: true})
	if h.Get("Retry-After") != "2" || h.Get("Retry-After-Ms") != "1200" || h.Get("X-Should-Retry") != "false" {
		t.Errorf("got %v", h)
	}
}

func TestErrorType(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{
		400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
		408: "timeout_error", 413: "invalid_request_error", 429: "rate_limit_error", 500: "server_error", 503: "overloaded_error", 504: "timeout_error",
	} {
		if got := llm.ErrorType(status); got != want {
			t.Errorf("ErrorType(%d) = %q, want %q", status, got, want)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	chunk := []byte(`{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"hello"},"logprobs":null,"finish_reason":null}],"usage":null}`)
	whole := []byte(`{"choices":[{"index":0,"message":{"role":"assistant","content":"` + strings.Repeat("hello world ", 300) + `"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}`)
	for _, bb := range []struct {
		name string
		data []byte
	}{{"chunk", chunk}, {"whole", whole}} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := llm.Read(bb.data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestReadAt_Uncounted: the text of a response that tells no usage, or none that says anything, is counted.
func TestReadAt_Uncounted(t *testing.T) {
	t.Parallel()
	const output = `"output":[{"type":"reasoning","summary":[{"type":"summary_text","text":"abc"}]},{"type":"message","content":[{"type":"output_text","text":"hello","annotations":[]},{"type":"refusal","refusal":"no"}]},{"type":"function_call","arguments":"{}"},7,{"content":null}]`
	for body, want := range map[string]int64{
		`{` + output + `}`: 12,
		`{` + output + `,"usage":{"input_tokens":0,"output_tokens":0,"total_tokens":0}}`: 12,
		`{` + output + `,"usage":{"input_tokens":3,"output_tokens":4,"total_tokens":7}}`: 0,
		`{"output":"x"}`: 0,
	} {
		r, err := llm.ReadAt(llm.Responses, []byte(body))
		if err != nil || r.TextBytes != want {
			t.Errorf("%s: got %d, %v, want %d", body, r.TextBytes, err, want)
		}
	}
	r, err := llm.ReadAt(llm.OCR, []byte(`{"pages":[],"usage_info":{"doc_size_bytes":7,"pages_processed":3}}`))
	if err != nil || r.Usage.Units.Pages != 3 || r.Usage.Source != llm.UsageProvider {
		t.Errorf("got %+v, %v", r, err)
	}
}
