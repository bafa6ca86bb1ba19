package pass_test

import (
	"net/http"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/pass"
	"github.com/conclave-llm/conclave/resource"
)

func TestPath(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		base, rest, query, want string
		ok                      bool
	}{
		{"https://h/v1", "v1/evals", "", "/evals", true},
		{"https://h/v1", "evals", "a=b&key=secret", "/evals?a=b", true},
		{"https://h", "v1/messages", "", "/v1/messages", true},
		{"https://h/v1", "v2/chat", "", "/v2/chat", true},
		{"https://h/v1", "models/a%2Fb", "", "/models/a%2Fb", true},
		{"https://h/v1", "../admin", "", "", false},
		{"https://h/v1", "x/%2e%2e/%2e%2e/admin", "", "", false},
		{"https://h/v1", "x//y", "", "", false},
		{"https://h/v1", `x\..\y`, "", "", false},
		{"https://h/v1", "x%zz", "", "", false},
		{"https://h/v1", "x", "a=%zz", "", false},
	} {
		if got, ok := pass.Path(tt.base, tt.rest, tt.query); got != tt.want || ok != tt.ok {
			t.Errorf("Path(%q, %q, %q) = %q, %t, want %q, %t", tt.base, tt.rest, tt.query, got, ok, tt.want, tt.ok)
		}
	}
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"v1/evals", "x/%2e%2e/y", "a%2Fb", "//h", "@h/x", ":80/x", "?a", "#b"} {
		f.Add(s, "a=b&key=c")
	}
	f.Fuzz(func(t *testing.T, rest, query string) {
		path, ok := pass.Path("https://host/v1", rest, query)
		if !ok {
			return
		}
		req, err := http.NewRequest("GET", "https://host/v1"+path, nil)
		if err != nil {
			return // refused when it is sent
		}
		if req.URL.Host != "host" || req.URL.Query().Has("key") || len(req.URL.Path) < 4 || req.URL.Path[:4] != "/v1/" {
			t.Errorf("%q leads to %s", rest, req.URL)
		}
	})
}

func TestAsked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ rest, want, renamed string }{
		{"v1beta/models/gemini-2:streamGenerateContent", "gemini-2", "v1beta/models/new:streamGenerateContent"},
		{"v1beta/models/gemini-2%3AstreamGenerateContent", "gemini-2", "v1beta/models/new%3AstreamGenerateContent"},
		{"v1beta/mod%65ls/x:countTokens", "x", "v1beta/mod%65ls/new:countTokens"},
		{"v1beta/models/a%2Fb", "a/b", "v1beta/models/new"},
		{"v1beta/tunedModels/t:generateContent", "t", "v1beta/tunedModels/new:generateContent"},
		{"model/a.b-v1:0/invoke", "a.b-v1:0", "model/new/invoke"},
		{"deployments/d/images/x", "d", "deployments/new/images/x"},
		{"Deployments/d", "d", "Deployments/new"},
		{"v1/models", "", ""},
		{"v1/evals", "", ""},
	} {
		got, ok := pass.Asked(tt.rest)
		if !ok || got.Model != tt.want {
			t.Errorf("Asked(%q) = %q, %t, want %q", tt.rest, got.Model, ok, tt.want)
		}
		if tt.want == "" {
			continue
		}
		if path := got.Rename(tt.rest, "new"); path != tt.renamed {
			t.Errorf("%q is renamed to %q, want %q", tt.rest, path, tt.renamed)
		}
	}
	for _, rest := range []string{"models/a/deployments/b", "x/a%2Fmodels%2Fb", "models%2Fb:generateContent", "x%zz"} {
		if got, ok := pass.Asked(rest); ok {
			t.Errorf("Asked(%q) = %q, want a refusal", rest, got.Model)
		}
	}
}

func TestNamed_Agree(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		path, body, want string
		ok               bool
	}{
		{"models/m:x", "", "m", true},
		{"models/m:x", "m", "m", true},
		{"models/m:x", "models/m", "m", true},
		{"models/m:x", "n", "", false},
		{"evals", "n", "n", true},
		{"evals", "", "", true},
	} {
		n, _ := pass.Asked(tt.path)
		if got, ok := n.Agree(tt.body); ok != tt.ok || ok && got != tt.want {
			t.Errorf("%q and %q agree on %q, %t, want %q, %t", tt.path, tt.body, got, ok, tt.want, tt.ok)
		}
	}
}

// Whatever a path looks like, the model that is read of it is the one that the path then names.
func FuzzAsked(f *testing.F) {
	for _, s := range []string{"models/m:generateContent", "mod%65ls/m%3Ax", "model/a:0/invoke", "models/%3A", "models/a%2Fb:c:d", "deployments//x", "%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, rest string) {
		n, ok := pass.Asked(rest)
		if !ok || n.Model == "" {
			return
		}
		again, ok := pass.Asked(n.Rename(rest, "other"))
		if !ok || again.Model != "other" {
			t.Errorf("%q, renamed to %q, names %q", rest, n.Rename(rest, "other"), again.Model)
		}
	})
}

func TestRefuser(t *testing.T) {
	t.Parallel()
	level := func(kind string, allowed, denied []string) resource.Level {
		return resource.Level{Kind: kind, Policy: &resource.Policy{PassThrough: allowed, DeniedPassThrough: denied}}
	}
	levels := []resource.Level{
		level("team", []string{"/openai/*", "/cohere/*"}, []string{"/cohere/v2/*"}), {Kind: "model"}, level("key", []string{"/openai/*", "/cohere/*", "/anthropic/*"}, []string{"/openai/v1/files*"}),
	}
	for path, want := range map[string]string{
		"/openai/v1/evals": "", "/openai/v1/files/x": "key", "/anthropic/v1/x": "team", "/cohere/v1/x": "", "/cohere/v2/x": "team", "/x": "team",
	} {
		got := ""
		if l := pass.Refuser(levels, path); l != nil {
			got = l.Kind
		}
		if got != want {
			t.Errorf("%s is refused by %q, want %q", path, got, want)
		}
	}
	if pass.Refuser([]resource.Level{level("key", nil, nil)}, "/openai/x") != nil || pass.Refuser(nil, "/x") != nil {
		t.Error("a key without lists, or the master key, is refused")
	}
}

func TestPrefixes_AreServed(t *testing.T) {
	t.Parallel()
	for _, p := range pass.Prefixes {
		for _, name := range p.Providers {
			row, ok := provider.Lookup(name)
			if !ok {
				t.Errorf("%s leads to %q, which is not known", p.Path, name)
				continue
			}
			if at, known := pass.Endpoint(row, "v1/unheard-of"); known || !row.Serves(at) {
				t.Errorf("%s: an unknown path is read as %s", name, at)
			}
		}
	}
	row, _ := provider.Lookup("openai")
	if at, known := pass.Endpoint(row, "v1/chat/completions"); !known || at != llm.Chat {
		t.Errorf("got %s, %t", at, known)
	}
}

func TestMints(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{
		"v1/realtime/client_secrets":                        true,
		"v1/realtime/sessions":                              true,
		"openai/realtimeapi/sessions":                       true,
		"v1/Realtime/transcription_sessions/":               true,
		"v1/realtime%2Fsessions":                            true,
		"v1//realtime//calls":                               true,
		"v1/chatkit/sessions":                               true,
		"v1alpha/auth_tokens":                               true,
		"v1/chat/completions":                               false,
		"v1/models/sessions":                                false,
		"v1/containers/calls/files":                         false,
		"openai/deployments/realtime/chat/completions":      false,
		"v1/projects/p/locations/l/sessions:generateAnswer": false,
	} {
		if got := pass.Mints(path); got != want {
			t.Errorf("Mints(%q) = %t, want %t", path, got, want)
		}
	}
}
