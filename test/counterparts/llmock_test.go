//go:build e2e

package counterparts

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/conclave-llm/conclave/test/cluster"
)

// llmock starts the mock of that name, which breaks answers on demand and judges who asked.
func llmock(t *testing.T) (url string) {
	t.Helper()
	python := os.Getenv("CONCLAVE_FRAMEWORKS_PYTHON")
	if python == "" {
		t.Fatal("CONCLAVE_FRAMEWORKS_PYTHON names no interpreter with llmock; run make e2e")
	}
	port := freePort(t)
	start(t, "running on", python, "-m", "llmock.cli", "serve", "--port", port, "--response-style", "hello") // five words
	return "http://127.0.0.1:" + port
}

// speaker is a dialect of clients.
type speaker struct {
	path   func(model string, stream bool) string
	body   func(model string) map[string]any
	ends   string // stands in a stream that has ended well, and in no other
	fails  string // stands in a stream that has not
	refuse string // begins an error that is a whole answer
	tools  any    // the tool get_weather
}

func at(path string) func(string, bool) string { return func(string, bool) string { return path } }

// city is the schema of get_weather's arguments.
var city = map[string]any{"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}, "required": []any{"city"}}

// speakers are the dialects of clients.
var speakers = map[string]speaker{
	"chat": {
		at("/v1/chat/completions"), func(model string) map[string]any {
			return map[string]any{"model": model, "messages": []any{map[string]any{"role": "user", "content": "hello"}}}
		}, "data: [DONE]", `data: {"error":{"message":`, `{"error":{"message":`,
		[]any{map[string]any{"type": "function", "function": map[string]any{"name": "get_weather", "parameters": city}}},
	},
	"responses": {
		at("/v1/responses"), func(model string) map[string]any { return map[string]any{"model": model, "input": "hello"} },
		"response.completed", "event: error\n", `{"error":{"message":`,
		[]any{map[string]any{"type": "function", "name": "get_weather", "parameters": city}},
	},
	"messages": {
		at("/v1/messages"), func(model string) map[string]any {
			return map[string]any{"model": model, "max_tokens": 64, "messages": []any{map[string]any{"role": "user", "content": "hello"}}}
		}, "event: message_stop", "event: error\n", `{"type":"error","error":{"type":`,
		[]any{map[string]any{"name": "get_weather", "input_schema": city}},
	},
	"generateContent": {
		func(model string, stream bool) string {
			if stream {
				return "/v1beta/models/" + model + ":streamGenerateContent?alt=sse"
			}
			return "/v1beta/models/" + model + ":generateContent"
		}, func(string) map[string]any {
			return map[string]any{"contents": []any{map[string]any{"role": "user", "parts": []any{map[string]any{"text": "hello"}}}}}
		}, `"finishReason":"STOP"`, `data: {"error":{"code":50`, `{"error":{"code":`,
		[]any{map[string]any{"functionDeclarations": []any{map[string]any{"name": "get_weather", "parameters": city}}}},
	},
}

// fault is what llmock does to the first attempts at a model, and what becomes of it.
type fault struct {
	name   string
	does   map[string]any
	stream bool
	status int    // of the client's answer
	origin string // of an error that is a whole answer
	code   string // of the error that ends a stream
	calls  string // the tool that a good answer calls, of one that is offered
}

// faults are llmock's. What is broken before the first word is asked for again, twice at most.
var faults = []fault{
	{"well", nil, false, 200, "", "", ""},
	{"well", nil, true, 200, "", "", ""},
	{"limited for a moment", map[string]any{"type": "fail", "status": 429, "retry_after": 1, "times": 2}, false, 200, "", "", ""},
	{"down for a moment", map[string]any{"type": "fail", "status": 503, "times": 2}, true, 200, "", "", ""},
	{"limited for long", map[string]any{"type": "fail", "status": 429, "retry_after": 30, "times": nil}, false, 429, "provider", "", ""},
	{"down", map[string]any{"type": "fail", "status": 500, "times": nil}, true, 500, "provider", "", ""},
	{"refused", map[string]any{"type": "fail", "status": 400, "times": nil}, false, 400, "provider", "", ""},
	{"no beginning", map[string]any{"type": "stream_fault", "kind": "disconnect", "after_chunks": 0}, true, 200, "", "", ""},
	{"nothing", map[string]any{"type": "stream_fault", "kind": "truncate", "after_chunks": 0}, true, 200, "", "", ""},
	{"cut", map[string]any{"type": "stream_fault", "kind": "disconnect", "after_chunks": 4}, true, 200, "", "upstream_cut", ""},
	{"truncated", map[string]any{"type": "stream_fault", "kind": "truncate", "after_chunks": 4}, true, 200, "", "upstream_cut", ""},
	{"corrupt", map[string]any{"type": "stream_fault", "kind": "malformed", "after_chunks": 4}, true, 200, "", "invalid_response", ""},
	{"stalled", map[string]any{"type": "stream_fault", "kind": "stall", "after_chunks": 4, "stall_seconds": 20}, true, 200, "", "timeout_between_chunks", ""},
	{"a call whose arguments are no JSON", map[string]any{"type": "tool_fault", "kind": "malformed_arguments"}, false, 200, "", "", "get_weather"},
	{"a call whose arguments are no JSON", map[string]any{"type": "tool_fault", "kind": "malformed_arguments"}, true, 200, "", "", "get_weather"},
	{"a call of an unknown tool", map[string]any{"type": "tool_fault", "kind": "unknown_tool"}, false, 200, "", "", "llmock_unknown_tool"},
	{"a call of an unknown tool", map[string]any{"type": "tool_fault", "kind": "unknown_tool"}, true, 200, "", "", "llmock_unknown_tool"},
}

// broken is one fault for a client of one dialect at a provider of another.
type broken struct {
	fault
	speaker
	name string // also the model's
}

// TestLLMock: whatever llmock breaks as a provider, a client learns it in its own dialect and never takes a broken
// answer for a whole one; and llmock finds nothing wrong with how it was asked.
func TestLLMock(t *testing.T) {
	upstream := llmock(t)
	c := cluster.Start(t, 1)
	_, key := c.NewKey(0, map[string]any{})
	var all sync.WaitGroup
	for provider, base := range map[string]string{"openai": "/v1", "anthropic": "/anthropic", "gemini": "/gemini/v1beta", "cohere": "/cohere/v2"} {
		for dialect, s := range speakers {
			for i, f := range faults {
				b := broken{f, s, fmt.Sprintf("%s-%s-%d", provider, dialect, i)}
				params := map[string]any{"custom_llm_provider": provider, "api_base": upstream + base}
				if f.name == "stalled" {
					params["stream_timeout"] = 2
				}
				serves(t, c, b.name, params)
				b.breaks(t, upstream)
				all.Go(func() { b.ask(t, c.Nodes[0].URL, key) })
			}
		}
	}
	all.Wait()
	judged(t, upstream)
}

// breaks tells llmock what to do to the model.
func (b broken) breaks(t *testing.T, upstream string) {
	t.Helper()
	if b.does == nil {
		return
	}
	does := map[string]any{"match": map[string]any{"model": b.name}}
	maps.Copy(does, b.does)
	if status := cluster.Call(t, http.MethodPost, upstream+"/_llmock/scenario", "", map[string]any{"behaviors": []any{does}}, nil); status != http.StatusCreated {
		t.Fatalf("%s: scenario: got %d", b.name, status)
	}
}

// ask is a client that asks again when a stream has not ended well, as it should.
func (b broken) ask(t *testing.T, node, key string) {
	body := b.body(b.name)
	if b.stream {
		body["stream"] = true
	}
	if b.calls != "" {
		body["tools"] = b.tools
	}
	status, header, text := exchange(t, node+b.path(b.name, b.stream), key, body)
	what := b.fault.name + ", " + b.name
	switch {
	case status != b.status:
		t.Errorf("%s: got %d %s, want %d", what, status, text, b.status)
	case status != http.StatusOK:
		if !strings.HasPrefix(text, b.refuse) || header.Get("X-Conclave-Error-Origin") != b.origin {
			t.Errorf("%s: got %q from %q, want %s from %s", what, text, header.Get("X-Conclave-Error-Origin"), b.refuse, b.origin)
		}
	case b.code != "":
		if strings.Contains(text, b.ends) || !strings.Contains(text, b.fails) || !strings.Contains(text, b.code) {
			t.Errorf("%s: got %s, want an error %s", what, text, b.code)
		}
		if status, _, text = exchange(t, node+b.path(b.name, b.stream), key, body); status != http.StatusOK || !strings.Contains(text, b.ends) {
			t.Errorf("%s, again: got %d %s", what, status, text)
		}
	case !strings.Contains(text, b.calls):
		t.Errorf("%s: got %s, want a call of %s", what, text, b.calls)
	case !b.stream && !json.Valid([]byte(text)):
		t.Errorf("%s: got %s", what, text)
	case b.stream && (!strings.Contains(text, b.ends) || strings.Contains(text, b.fails)):
		t.Errorf("%s: got %s", what, text)
	}
}

// borne are the warnings of llmock that are no faults, by code, with what their titles hold: what is to wait for half a
// minute is left to the client; that a stream was left at a corrupt event cannot be seen; and on a machine that is busy
// pauses of half a second and of one may take the same time.
var borne = map[string]string{"gave_up": "after a 429", "malformed_chunk_ignored": "", "no_backoff": "constant interval"}

// judged reads llmock's verdict, which has no errors, and no warnings but those that are borne.
func judged(t *testing.T, upstream string) {
	t.Helper()
	var verdict struct {
		Passed   bool
		Calls    int
		Findings []struct{ Code, Title, Path string }
	}
	if status := cluster.Call(t, http.MethodGet, upstream+"/_llmock/verdict", "", nil, &verdict); status != http.StatusOK || !verdict.Passed {
		t.Errorf("got %d, passed %t", status, verdict.Passed)
	}
	if want := 16 * len(faults); verdict.Calls < want {
		t.Errorf("llmock has seen %d calls, want %d", verdict.Calls, want)
	}
	for _, f := range verdict.Findings {
		if title, ok := borne[f.Code]; !ok || !strings.Contains(f.Title, title) {
			t.Errorf("%s: %s (%s)", f.Code, f.Title, f.Path)
		}
	}
}
