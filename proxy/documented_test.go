package proxy_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/conclave-llm/conclave/resource"
)

// operation is one method of one path of OpenAI's document, and what becomes of it.
type operation struct{ fate, method, path string }

// documented reads the operations of OpenAI's document, of which testdata tells.
func documented(t *testing.T) (all []operation) {
	t.Helper()
	text, err := os.ReadFile("testdata/openai_paths.txt")
	if err != nil {
		t.Fatal(err)
	}
	id := regexp.MustCompile(`\{[^}]*\}`)
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if words[0] == "#" {
			continue
		}
		for _, method := range words[2:] {
			all = append(all, operation{words[0], method, "/v1" + id.ReplaceAllString(words[1], "demo")})
		}
	}
	if len(all) < 250 {
		t.Fatalf("testdata tells of %d operations", len(all))
	}
	return all
}

// Nothing of OpenAI's document is unknown: each operation is served, relayed, or refused for a reason that is told.
func TestDocumented(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	asked := ""
	ask := func(open bool) func(operation) (int, string, string) {
		w := passWire(t, "openai", func(rw http.ResponseWriter, q *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			asked = q.Method + " " + strings.Replace(q.URL.Path, "/models/gpt-x", "/models/demo", 1)
			rw.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(rw, `{}`)
		})
		if !open {
			w.tables.Deployments[0].Options = nil
		}
		handler := w.handler()
		return func(op operation) (int, string, string) {
			mu.Lock()
			asked = ""
			mu.Unlock()
			req := httptest.NewRequest(op.method, op.path, strings.NewReader(`{}`))
			req.Header.Set("Authorization", "Bearer "+goodKey)
			req.Header.Set("Content-Type", "application/json")
			got := httptest.NewRecorder()
			handler.ServeHTTP(got, req)
			mu.Lock()
			defer mu.Unlock()
			return got.Code, got.Body.String(), asked
		}
	}
	closed, open := ask(false), ask(true)
	for _, op := range documented(t) {
		status, got, at := closed(op)
		if strings.Contains(got, "unknown_url") || strings.Contains(got, "method_not_allowed") || status >= 500 || at != "" {
			t.Errorf("%s %s, with nobody to ask: got %d %s, asked %q", op.method, op.path, status, got, at)
		}
		if op.fate != "served" && op.fate != "minted" && !strings.Contains(got, "endpoint_not_served") {
			t.Errorf("%s %s, with nobody to ask: got %d %s, want endpoint_not_served", op.method, op.path, status, got)
		}
		switch status, got, at = open(op); op.fate {
		case "relayed":
			if status != 200 || at != op.method+" "+op.path {
				t.Errorf("%s %s is not relayed: got %d %s, asked %q", op.method, op.path, status, got, at)
			}
		case "minted":
			if status != 403 || !strings.Contains(got, "provider_secret_not_served") || at != "" {
				t.Errorf("%s %s: got %d %s, asked %q", op.method, op.path, status, got, at)
			}
		case "administration":
			if status != 404 || !strings.Contains(got, "endpoint_not_served") || at != "" {
				t.Errorf("%s %s: got %d %s, asked %q", op.method, op.path, status, got, at)
			}
		}
	}
}

// A chat completion that the provider stores is its maker's, whole or streamed, and is asked for and deleted like other
// things that providers keep.
func TestStoredChats(t *testing.T) {
	t.Parallel()
	const whole = `{"id":"chatcmpl-kept1","object":"chat.completion","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30}}`
	const chunks = `data: {"id":"chatcmpl-kept2","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}` +
		"\n\n" + `data: {"id":"chatcmpl-kept2","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30}}` + "\n\ndata: [DONE]\n\n"
	m := newMakers(t, func(r *rig) { r.tables.Deployments = r.tables.Deployments[:1] })
	up := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		if strings.Contains(string(body), `"stream":true`) {
			rw.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(rw, ": hello\n\n"+chunks)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, whole)
	}))
	t.Cleanup(up.Close)
	m.tables.Deployments[0].APIBase = up.URL + "/v1"
	cost := func() (sum resource.Money) {
		m.fake.mu.Lock()
		defer m.fake.mu.Unlock()
		for _, r := range m.fake.settled {
			sum += r.Cost
		}
		return sum
	}
	for _, tt := range []struct {
		name, key, method, path, body string
		status                        int
	}{
		{"made", goodKey, "POST", "/v1/chat/completions", `{"model":"demo","store":true,"messages":[]}`, 200},
		{"streamed", goodKey, "POST", "/v1/chat/completions", `{"model":"demo","store":true,"stream":true,"messages":[]}`, 200},
		{"its own", goodKey, "GET", "/v1/chat/completions/chatcmpl-kept1", "", 200},
		{"its own that was streamed", goodKey, "GET", "/v1/chat/completions/chatcmpl-kept2/messages", "", 200},
		{"a mate's", mateKey, "POST", "/v1/chat/completions/chatcmpl-kept1", `{"metadata":{"a":"b"}}`, 200},
		{"a stranger's", strangeKey, "GET", "/v1/chat/completions/chatcmpl-kept1", "", 404},
		{"a stranger's that was streamed", strangeKey, "DELETE", "/v1/chat/completions/chatcmpl-kept2", "", 404},
		{"all", goodKey, "GET", "/v1/chat/completions?limit=2", "", 200},
		{"deleted", mateKey, "DELETE", "/v1/chat/completions/chatcmpl-kept1", "", 200},
		{"and then nobody's", strangeKey, "GET", "/v1/chat/completions/chatcmpl-kept1", "", 200},
	} {
		before := cost()
		res, got := m.send(t.Context(), tt.method, tt.path, tt.body, as(tt.key)) //nolint:bodyclose // send closes it
		if res.StatusCode != tt.status {
			t.Errorf("%s: got %d %s, want %d", tt.name, res.StatusCode, got, tt.status)
		}
		if asks := strings.Contains(tt.body, "messages"); asks != (cost() > before) {
			t.Errorf("%s: it cost %d", tt.name, cost()-before)
		}
	}
}
