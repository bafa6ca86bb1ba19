package chatgpt_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/chatgpt"
)

// stream is a stream of events.
func stream(events ...string) []byte {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "event: x\ndata: %s\n\n", e)
	}
	return []byte(b.String())
}

const (
	item = `{"type":"response.output_item.done","output_index":0,"item":{"id":"m","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"Hello","annotations":[]}]}}`
	done = `{"type":"response.completed","response":{"id":"resp_1","object":"response","status":"completed","model":"gpt-6-sol","output":[],"usage":{"input_tokens":7,"output_tokens":3,"total_tokens":10}}}`
)

// TestFormat_Whole: a stream that nobody asked for is one answer, whose output is that of the items that came.
func TestFormat_Whole(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text, code string
		body             []byte
		failed           bool
	}{
		{"items", "Hello", "", stream(`{"type":"response.created","response":{}}`, item, done), false},
		{"an output", "Hi", "", stream(item, strings.Replace(done, `"output":[]`, `"output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Hi"}]}]`, 1)), false},
		{"no stream", "Hi", "", []byte(`{"id":"r","status":"completed","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Hi"}]}],"usage":{"input_tokens":7,"output_tokens":3,"total_tokens":10}}`), false},
		{"cut", "", "invalid_response", stream(item), false},
		{"nothing", "", "invalid_response", nil, false},
		{"an error", "", "", stream(`{"type":"error","error":{"code":"server_error","message":"it failed"}}`), true},
		{"failed", "", "", stream(`{"type":"response.failed","response":{"id":"r","status":"failed","error":{"code":"server_error","message":"it failed"}}}`), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rep, bad := chatgpt.Codec{}.Read(llm.ChatGPTResponses, tt.body)
			res, err := chatgpt.Format{}.DecodeResponse(tt.body)
			if tt.text == "" {
				e, ok := errors.AsType[*llm.Error](err)
				if !ok || tt.code != "" && e.Code != tt.code || bad == nil && !rep.HasError {
					t.Errorf("got %v, %v and %+v", err, bad, rep)
				}
				return
			}
			if err != nil || len(res.Choices) != 1 || res.Choices[0].Parts[0].Text != tt.text || !rep.HasUsage || rep.Usage.Input != 7 || rep.Usage.Output != 3 {
				t.Errorf("got %+v, %v and %+v", res, err, rep)
			}
		})
	}
}

// TestCodec_Errors: what the service says in its own words is told, but for what it says of credentials.
func TestCodec_Errors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status  int
		body    string
		kind    llm.Kind
		message string
	}{
		{400, `{"detail":"Stream must be set to true"}`, llm.Invalid, "Stream must be set to true"},
		{401, `{"detail":"Could not parse your authentication token. Please try signing in again."}`, llm.Upstream, ""},
		{429, `{"error":{"type":"usage_limit_reached","message":"The usage limit has been reached","resets_in_seconds":60}}`, llm.RateLimited, "The usage limit has been reached"},
	} {
		e := chatgpt.Codec{}.Classify(time.Now(), tt.status, nil, []byte(tt.body))
		if e.Kind != tt.kind || tt.message != "" && e.Message != tt.message || strings.Contains(e.Message, "token") {
			t.Errorf("%d %s: got %+v", tt.status, tt.body, e)
		}
	}
}

func token(exp int64, account string) string {
	claims := fmt.Sprintf(`{"exp":%d,"https://api.openai.com/auth":{"chatgpt_account_id":%q}}`, exp, account)
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

// TestAuth: both forms of an auth.json are read, and written back in their form with the tokens that were given.
func TestAuth(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct{ name, in, want string }{
		{
			"of OpenAI's client", `{"OPENAI_API_KEY":null,"tokens":{"id_token":"i","access_token":"` + token(100, "acc") + `","refresh_token":"r1"},"last_refresh":"2025-01-01T00:00:00Z"}`,
			`{"OPENAI_API_KEY":null,"last_refresh":"2026-01-02T03:04:05Z","tokens":{"id_token":"i","access_token":"` + token(200, "acc") + `","refresh_token":"r2","account_id":"acc"}}`,
		},
		{
			"of LiteLLM", `{"access_token":"` + token(100, "acc") + `","refresh_token":"r1","id_token":"i","expires_at":100,"account_id":"acc"}`,
			`{"access_token":"` + token(200, "acc") + `","account_id":"acc","expires_at":200,"id_token":"i","refresh_token":"r2"}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, err := chatgpt.ParseAuth(tt.in)
			if err != nil || a.Account != "acc" || a.Expires.Unix() != 100 || a.Refresh != "r1" {
				t.Fatalf("got %+v, %v", a, err)
			}
			a.Renew(chatgpt.Tokens{Access: token(200, "acc"), Refresh: "r2"}, now)
			got, err := a.Text()
			if err != nil || got != tt.want || a.Expires.Unix() != 200 {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
	for _, bad := range []string{"", "[]", "{}", `{"tokens":null}`, `{"OPENAI_API_KEY":"sk-hush"}`, `{"tokens":{"id_token":"hush"}}`} {
		if _, err := chatgpt.ParseAuth(bad); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: got %v", bad, err)
		}
	}
}

// FuzzWhole: no answer makes the reader panic, and what is taken can be written for clients.
func FuzzWhole(f *testing.F) {
	f.Add(stream(item, done))
	f.Add(stream(item))
	f.Add([]byte(`{"output":[]}`))
	f.Add([]byte("data: {\"type\":\"response.completed\",\"response\":7}\n\n"))
	in, _ := provider.InboundOf(llm.Chat)
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _ = chatgpt.Codec{}.Read(llm.ChatGPTResponses, body)
		res, err := chatgpt.Format{}.DecodeResponse(body)
		if err != nil {
			if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind == llm.Invalid {
				t.Fatalf("got %v", err)
			}
			return
		}
		if got, err := in.EncodeResponse(&chat.Request{}, res); err != nil || !json.Valid(got) {
			t.Fatalf("%s: %s, %v", body, got, err)
		}
	})
}

// FuzzAuth: what is read of an auth.json can be written, and read again as the same.
func FuzzAuth(f *testing.F) {
	f.Add(`{"tokens":{"access_token":"` + token(5, "a") + `","refresh_token":"r"}}`)
	f.Add(`{"access_token":"a.b.c","expires_at":"x"}`)
	f.Fuzz(func(t *testing.T, text string) {
		a, err := chatgpt.ParseAuth(text)
		if err != nil {
			return
		}
		out, err := a.Text()
		if err != nil {
			t.Fatal(err)
		}
		b, err := chatgpt.ParseAuth(out)
		if err != nil || b.Tokens != a.Tokens || !b.Expires.Equal(a.Expires) {
			t.Fatalf("%s became %s: %+v, %v", text, out, b, err)
		}
	})
}
