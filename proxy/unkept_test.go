package proxy_test

import (
	"context"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// TestUnkept: a provider that stores unless it is told otherwise is told so where somebody in charge wants no contents
// kept, at every endpoint where it has a word for it, unless the client says it itself.
func TestUnkept(t *testing.T) {
	t.Parallel()
	const (
		chat     = `{"model":"demo","messages":[{"role":"user","content":"hi"}]%s}`
		response = `{"model":"demo","input":"hi"%s}`
		content  = `{"contents":[{"role":"user","parts":[{"text":"hi"}]}]%s}`
		google   = "/v1beta/models/demo:generateContent"
	)
	for _, tt := range []struct {
		name, provider, path, body, more string
		want                             string // what is said of storing; "": nothing
	}{
		{"chat", "openai", "/v1/chat/completions", chat, "", "false"},
		{"chat, null", "openai", "/v1/chat/completions", chat, `,"store":null`, "false"},
		{"chat, true", "openai", "/v1/chat/completions", chat, `,"store":true`, "true"},
		{"chat, false", "openai", "/v1/chat/completions", chat, `,"store":false`, "false"},
		{"chat of a provider that stores none", "groq", "/v1/chat/completions", chat, "", ""},
		{"responses", "openai", "/v1/responses", response, "", "false"},
		{"responses, null", "openai", "/v1/responses", response, ` , "store" : null`, "false"},
		{"responses, true", "azure", "/v1/responses", response, `,"store":true`, "true"},
		{"responses of azure", "azure", "/v1/responses", response, "", "false"},
		{"messages as chat", "openai", "/v1/messages", `{"model":"demo","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`, "", "false"},
		{"generate", "gemini", google, content, "", "false"},
		{"generate of another service", "vertex_ai", google, content, "", ""},
		{"chat as generate", "gemini", "/v1/chat/completions", chat, "", "false"},
		{"in the provider's words", "openai", "/openai/v1/responses", response, "", "false"},
		{"in the provider's words, true", "openai", "/openai/v1/responses", response, `,"store":true`, "true"},
		{"in the provider's words, chat", "openai", "/openai/v1/chat/completions", chat, "", "false"},
		{"in the provider's words, interactions", "gemini", "/gemini/v1beta/interactions", response, "", "false"},
		{"in the provider's words, something else", "openai", "/openai/v1/conversations", `{"items":[]%s}`, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, private := range []bool{true, false} {
				r := newRig(t)
				var sent string
				r.upstream = func(_ context.Context, a *upstream.Attempt) (proxy.Answer, error) {
					sent = string(a.Body)
					return proxy.Answer{}, &llm.Error{Kind: llm.Invalid, Message: "no"}
				}
				r.keys[resource.HashSecret(goodKey)].LogContent = new(!private)
				d := r.tables.Deployments[0]
				d.Provider, d.Upstream, d.APIBase, d.APIKey = tt.provider, "up", "http://upstream.example/v1", &resource.Sealed{}
				d.Options = map[string]string{"use_in_pass_through": "true", "vertex_project": "p", "vertex_location": "europe-west4"}
				r.tables.Deployments = r.tables.Deployments[:1]
				w := r.do("POST", tt.path, strings.Replace(tt.body, "%s", tt.more, 1))
				if sent == "" {
					t.Fatalf("nothing is sent: %d %s", w.Code, w.Body)
				}
				want := tt.want
				if _, said, ok := strings.Cut(tt.more, `"store"`); !private && ok {
					want = strings.TrimLeft(said, " :")
				} else if !private {
					want = ""
				}
				got := ""
				if _, after, ok := strings.Cut(sent, `"store"`); ok {
					got = strings.Trim(after, " :")
					got = got[:strings.IndexAny(got, ",}")]
				}
				if got != want || strings.Count(sent, `"store"`) > 1 {
					t.Errorf("private %v: %q is said of storing, want %q: %s", private, got, want, sent)
				}
			}
		})
	}
}
