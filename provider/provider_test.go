package provider_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
)

func TestTable(t *testing.T) {
	t.Parallel()
	names := provider.Names()
	if len(names) < 100 || !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Fatalf("got %d names, want at least 100, sorted, each once", len(names))
	}
	for _, n := range names {
		p, ok := provider.Lookup(n)
		if !ok || p.Name != n || p.Codec == nil || len(p.Endpoints) == 0 {
			t.Errorf("%s: got %+v", n, p)
			continue
		}
		for _, v := range slices.Concat(p.KeyVars, p.BaseVars) {
			if v == "" || v[0] < 'A' || v[0] > 'Z' {
				t.Errorf("%s: %q is no environment variable", n, v)
			}
		}
		if p.BaseOf != nil {
			continue // has a test of its own
		}
		if p.Base == "" {
			if _, err := p.URL("", llm.Place{Endpoint: p.Endpoints[0], Model: "m"}); err == nil {
				t.Errorf("%s: has a URL without a base", n)
			}
			continue
		}
		if u, err := url.Parse(strings.NewReplacer("{", "", "}", "").Replace(p.Base)); err != nil || u.Host == "" || u.Path != "" && u.Path[len(u.Path)-1] == '/' {
			t.Errorf("%s: %q is no base (%v)", n, p.Base, err)
		}
	}
	if _, ok := provider.Lookup("nobody"); ok {
		t.Error("got a provider that is not there")
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		model, provider, rest string
	}{
		{"groq/llama-3", "groq", "llama-3"},
		{"openrouter/openai/gpt-4o", "openrouter", "openai/gpt-4o"},
		{"gpt-4o", "", "gpt-4o"},
		{"meta-llama/llama-3", "", "meta-llama/llama-3"},
	} {
		p, rest, ok := provider.Split(tt.model)
		if ok != (tt.provider != "") || rest != tt.rest || ok && p.Name != tt.provider {
			t.Errorf("Split(%q) = %v, %q, %v", tt.model, p, rest, ok)
		}
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	p, _ := provider.Lookup("openai")
	for _, tt := range []struct {
		base, want string
		endpoint   llm.Endpoint
	}{
		{"", "https://api.openai.com/v1/chat/completions", llm.Chat},
		{"http://127.0.0.1:4090/v1/", "http://127.0.0.1:4090/v1/completions", llm.Completions},
		{"http://h", "http://h/embeddings", llm.Embeddings},
	} {
		if got, err := p.URL(tt.base, llm.Place{Endpoint: tt.endpoint, Model: "m"}); err != nil || got != tt.want {
			t.Errorf("URL(%q) = %q, %v, want %q", tt.base, got, err, tt.want)
		}
	}
	if p.Serves(llm.Endpoint(99)) || !p.Serves(llm.Chat) {
		t.Error("openai serves the wrong endpoints")
	}
}

func TestAuth(t *testing.T) {
	t.Parallel()
	for auth, want := range map[provider.Auth]string{
		provider.Bearer: "Authorization", provider.APIKey: "api-key", provider.XAPIKey: "x-api-key",
		provider.SubscriptionKey: "api-subscription-key", provider.NoAuth: "",
	} {
		h := make(http.Header)
		auth.Set(h, "")
		if len(h) != 0 {
			t.Errorf("an empty key is sent: %v", h)
		}
		auth.Set(h, "k")
		if got := h.Get(want); want != "" && got != "k" && got != "Bearer k" || len(h) > 1 || want == "" && len(h) != 0 {
			t.Errorf("%d: got %v", auth, h)
		}
	}
}

func TestURL_Options(t *testing.T) {
	t.Parallel()
	p, _ := provider.Lookup("bedrock")
	at := llm.Place{Endpoint: llm.Converse, Model: "anthropic.claude-x:0", Options: map[string]string{"region": "eu-west-1"}}
	const want = "https://bedrock-runtime.eu-west-1.amazonaws.com/model/anthropic.claude-x%3A0/converse"
	if got, err := p.URL("", at); got != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for _, region := range []string{"", "evil.example/", "a@b", "x?y", "a b"} {
		at.Options = map[string]string{"region": region}
		if got, err := p.URL("", at); err == nil {
			t.Errorf("the region %q gives %q", region, got)
		}
	}
}

// What further says must be about a row, and a row must not serve an endpoint twice.
func TestFurther(t *testing.T) {
	t.Parallel()
	for _, name := range provider.Names() {
		p, _ := provider.Lookup(name)
		for i, e := range p.Endpoints {
			if slices.Contains(p.Endpoints[:i], e) {
				t.Errorf("%s serves %s twice", name, e)
			}
		}
	}
	for _, name := range provider.FurtherNames() {
		if _, ok := provider.Lookup(name); !ok {
			t.Errorf("%q is no row", name)
		}
	}
}
