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
	for rest, want := range map[string]string{
		"v1beta/models/gemini-2:streamGenerateContent": "gemini-2", "model/a.b-v1:0/invoke": "a.b-v1:0", "deployments/d/images/x": "d", "v1/evals": "",
	} {
		if got := pass.Asked(rest); got != want {
			t.Errorf("Asked(%q) = %q, want %q", rest, got, want)
		}
	}
}

func TestAllowed(t *testing.T) {
	t.Parallel()
	key := &resource.Key{Access: resource.Access{PassThrough: []string{"/openai/*"}, DeniedPassThrough: []string{"/openai/v1/files*"}}}
	for path, want := range map[string]bool{"/openai/v1/evals": true, "/openai/v1/files/x": false, "/anthropic/v1/x": false} {
		if pass.Allowed(key, path) != want {
			t.Errorf("Allowed(%q) is not %t", path, want)
		}
	}
	if !pass.Allowed(&resource.Key{}, "/openai/x") || !pass.Allowed(nil, "/x") {
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
