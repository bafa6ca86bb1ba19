package upstream_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
	"github.com/conclave-llm/conclave/secret"
)

func TestClient_Models(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != "GET" || r.Header.Get("X-Api-Key")+r.Header.Get("Authorization") == "":
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":{"message":"no key"}}`)
		case r.URL.Path == "/moved/v1/models":
			http.Redirect(w, r, "/v1/models", http.StatusFound)
		case r.URL.Path == "/html/v1/models":
			fmt.Fprint(w, "<html>")
		case r.URL.Path == "/large/v1/models":
			fmt.Fprint(w, `{"data":["`+strings.Repeat("x", 17<<20))
		case r.URL.Query().Get("after_id") == "a":
			fmt.Fprint(w, `{"data":[{"id":"b"}],"has_more":false,"last_id":"b"}`)
		case r.URL.Query().Get("after_id") == "loop":
			fmt.Fprint(w, `{"data":[{"id":"b"}],"has_more":true,"last_id":"loop"}`)
		default:
			fmt.Fprint(w, `{"data":[{"id":"a"}],"has_more":true,"last_id":"a"}`)
		}
	}))
	defer srv.Close()
	client := upstream.New(upstream.Config{})
	defer client.Close()
	account := &sign.Account{Key: secret.New("sk")}
	anthropic, _ := provider.Lookup("anthropic")
	if got, err := client.Models(t.Context(), &upstream.Attempt{Provider: anthropic, Base: srv.URL, Account: account}); err != nil || !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("two pages: got %q, %v", got, err)
	}
	for _, tt := range []struct {
		name, base string
		account    *sign.Account
		kind       llm.Kind
	}{
		{"no key", srv.URL, nil, llm.Upstream},
		{"a redirect", srv.URL + "/moved", account, llm.Upstream},
		{"no JSON", srv.URL + "/html", account, llm.Upstream},
		{"too much", srv.URL + "/large", account, llm.TooLarge},
		{"nobody there", "http://127.0.0.1:1", account, llm.Upstream},
		{"no address", "ftp://x", account, llm.Invalid},
	} {
		got, err := client.Models(t.Context(), &upstream.Attempt{Provider: anthropic, Base: tt.base, Account: tt.account})
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != tt.kind {
			t.Errorf("%s: got %q, %v, want %v", tt.name, got, err, tt.kind)
		}
	}
	custom, _ := provider.Lookup("custom_openai")
	got, err := client.Models(t.Context(), &upstream.Attempt{Provider: custom})
	if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid || !strings.Contains(e.Message, "set api_base") {
		t.Errorf("no address of its own: got %q, %v", got, err)
	}
	bedrock, _ := provider.Lookup("bedrock")
	if _, err := client.Models(t.Context(), &upstream.Attempt{Provider: bedrock, Base: srv.URL, Account: account}); !errors.Is(err, provider.ErrNoList) {
		t.Errorf("bedrock: got %v", err)
	}
}
