package proxy_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// completer is a server that completes texts and knows nothing else.
type completer struct {
	mu     sync.Mutex // guards asked
	asked  []string   // prompts
	usage  bool       // it says what it used
	server *httptest.Server
}

func newCompleter(t *testing.T, usage bool) *completer {
	c := &completer{usage: usage}
	c.server = httptest.NewServer(c)
	t.Cleanup(c.server.Close)
	return c
}

func (c *completer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Prompt any  `json:"prompt"` // a text, or tokens
		Stream bool `json:"stream"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.URL.Path != "/v1/completions" {
		http.NotFound(w, r)
		return
	}
	text, _ := in.Prompt.(string)
	c.mu.Lock()
	c.asked = append(c.asked, text)
	c.mu.Unlock()
	said := ""
	if c.usage {
		said = `,"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}`
	}
	if !in.Stream {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"c","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":"hello there","finish_reason":"stop"}]`+said+`}`)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for _, text := range []string{"hello", " there"} {
		_, _ = io.WriteString(w, `data: {"id":"c","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":"`+text+`","finish_reason":null}]}`+"\n\n")
	}
	_, _ = io.WriteString(w, `data: {"id":"c","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":"","finish_reason":"stop"}]`+said+"}\n\ndata: [DONE]\n\n")
}

func (c *completer) last() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.asked) == 0 {
		return ""
	}
	return c.asked[len(c.asked)-1]
}

// templated makes the rig's only deployment one of the completer's, with a template.
func templated(t *testing.T, c *completer, provider string, p *resource.PromptTemplate) *rig {
	r := newRig(t)
	up := upstream.New(upstream.Config{})
	t.Cleanup(up.Close)
	r.cfg.Upstream = proxy.FromClient(up)
	r.cfg.Blobs = func(_ context.Context, digest string) ([]byte, error) {
		if digest == "chatml" {
			return []byte("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"), nil
		}
		if digest == "never" {
			return []byte("{{ raise_exception('no talk today') }}"), nil
		}
		if digest == "lost" {
			return nil, errNoBlob
		}
		return nil, errBoom
	}
	r.tables.Deployments = []*resource.Deployment{{
		Meta: resource.Meta{ID: "dep_1"}, Name: "d1", ModelID: "model_demo", Provider: provider, Upstream: "base-model", APIBase: c.server.URL + "/v1",
		APIKey: &resource.Sealed{}, PromptTemplate: p,
	}}
	return r
}

var frames = &resource.PromptTemplate{
	Roles: map[string]resource.PromptFrame{"system": {Pre: "[S]", Post: "\n"}, "user": {Pre: "[U]", Post: "\n"}}, Final: "[A]", BOS: "<s>",
}

// TestPromptTemplate: a conversation in any dialect reaches a model of completions as the text of its
// template, and the answer comes back in the client's dialect.
func TestPromptTemplate(t *testing.T) {
	t.Parallel()
	const talk = `"messages":[{"role":"system","content":"be"},{"role":"user","content":"hi"}]`
	for _, tt := range []struct{ name, path, body, find string }{
		{"chat", "/v1/chat/completions", `{"model":"demo",` + talk + `}`, `"content":"hello there"`},
		{"chat, streamed", "/v1/chat/completions", `{"model":"demo","stream":true,` + talk + `}`, `"content":" there"`},
		{"messages", "/v1/messages", `{"model":"demo","max_tokens":9,"system":"be","messages":[{"role":"user","content":"hi"}]}`, `"text":"hello there"`},
		{"messages, streamed", "/v1/messages", `{"model":"demo","max_tokens":9,"stream":true,"system":"be","messages":[{"role":"user","content":"hi"}]}`, `"text":" there"`},
		{"responses", "/v1/responses", `{"model":"demo","store":false,"instructions":"be","input":"hi"}`, `"text":"hello there"`},
		{"Google's", "/v1beta/models/demo:generateContent", `{"systemInstruction":{"parts":[{"text":"be"}]},"contents":[{"role":"user","parts":[{"text":"hi"}]}]}`, `"text":"hello there"`},
	} {
		for _, provider := range []string{"text-completion-openai", "hosted_vllm"} {
			t.Run(tt.name+" to "+provider, func(t *testing.T) {
				t.Parallel()
				c := newCompleter(t, true)
				r := templated(t, c, provider, frames)
				w := r.do("POST", tt.path, tt.body)
				if w.Code != 200 || !strings.Contains(w.Body.String(), tt.find) {
					t.Errorf("got %d %s, want %s in it", w.Code, w.Body, tt.find)
				}
				if got, want := c.last(), "<s>[S]be\n[U]hi\n[A]"; got != want {
					t.Errorf("the model was asked %q, want %q", got, want)
				}
				if u := r.journal.settled[len(r.journal.settled)-1].Usage; u.Prompt() != 5 || u.Completion() != 2 {
					t.Errorf("used %+v", u)
				}
			})
		}
	}
}

func TestPromptTemplate_Jinja(t *testing.T) {
	t.Parallel()
	const body = `{"model":"demo","messages":[{"role":"developer","content":"be"},{"role":"user","content":[{"type":"text","text":"hi {{ messages }}"}]}]}`
	c := newCompleter(t, true)
	r := templated(t, c, "hosted_vllm", &resource.PromptTemplate{Jinja: "chatml"})
	const want = "<|im_start|>system\nbe<|im_end|>\n<|im_start|>user\nhi {{ messages }}<|im_end|>\n<|im_start|>assistant\n"
	if w := r.do("POST", "/v1/chat/completions", body); w.Code != 200 || c.last() != want {
		t.Errorf("got %d %s, asked %q", w.Code, w.Body, c.last())
	}
	// What would be sent can be seen.
	w := r.do("POST", "/utils/transform_request", `{"call_type":"completion","request_body":`+body+`}`)
	var seen struct {
		URL  string `json:"raw_request_api_base"`
		Body struct {
			Prompt string `json:"prompt"`
			Model  string `json:"model"`
		} `json:"raw_request_body"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &seen); err != nil || seen.Body.Prompt != want || seen.Body.Model != "base-model" || !strings.HasSuffix(seen.URL, "/v1/completions") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	// Completions are the client's own text.
	if w := r.do("POST", "/v1/completions", `{"model":"demo","prompt":"as it is"}`); w.Code != 200 || c.last() != "as it is" {
		t.Errorf("got %d %s, asked %q", w.Code, w.Body, c.last())
	}
	r = templated(t, c, "hosted_vllm", &resource.PromptTemplate{Jinja: "never"})
	if w := r.do("POST", "/v1/chat/completions", body); w.Code != 400 || !strings.Contains(w.Body.String(), "no talk today") {
		t.Errorf("a template that refuses: got %d %s", w.Code, w.Body)
	}
	r = templated(t, c, "hosted_vllm", &resource.PromptTemplate{Jinja: "gone"})
	if w := r.do("POST", "/v1/chat/completions", body); w.Code != 503 {
		t.Errorf("a template that is gone: got %d %s", w.Code, w.Body)
	}
	r = templated(t, c, "hosted_vllm", &resource.PromptTemplate{Jinja: "lost"})
	if w := r.do("POST", "/v1/chat/completions", body); w.Code != 503 || codeOf(t, w.Body.String()) != "blob_unavailable" || w.Header().Get("Retry-After") == "" {
		t.Errorf("a template that no node gives: got %d %s", w.Code, w.Body)
	}
}

// TestAuthorities_Gone: a deployment whose authorities are a blob that cannot be read says so.
func TestAuthorities_Gone(t *testing.T) {
	t.Parallel()
	digest := strings.Repeat("a", 64)
	r := newRig(t)
	d, err := egress.New(egress.Config{Blobs: func(context.Context, string) ([]byte, error) { return nil, errNoBlob }})
	if err != nil {
		t.Fatal(err)
	}
	r.cfg.Egress = d
	r.tables.Deployments = []*resource.Deployment{{
		Meta: resource.Meta{ID: "dep_1"}, Name: "d1", ModelID: "model_demo", Provider: "openai", Egress: resource.Egress{TLS: &resource.TLS{CA: digest}},
	}}
	w := r.do("POST", "/v1/chat/completions", `{"model":"demo","messages":[{"role":"user","content":"hi"}]}`)
	if w.Code != 503 || codeOf(t, w.Body.String()) != "blob_unavailable" || w.Header().Get("Retry-After") == "" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}
