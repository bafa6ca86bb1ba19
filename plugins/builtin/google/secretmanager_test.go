package google_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/google"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// TestSecretManager asks a stand-in that follows the published REST API.
func TestSecretManager(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	var tokens atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			if tokens.Add(1); r.FormValue("assertion") == "" {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"access_token":"token-1","token_type":"Bearer","expires_in":3600}`)
			return
		}
		answers := map[string]string{
			"/v1/projects/p/secrets/openai/versions/latest:access": `{"name":"projects/1/secrets/openai/versions/4","payload":{"data":"c2stMQ=="}}`,
			"/v1/projects/p/secrets/openai/versions/2:access":      `{"name":"projects/1/secrets/openai/versions/2","payload":{"data":"eyJrZXkiOiJzay0yIn0="}}`,
			"/v1/projects/q/secrets/openai/versions/latest:access": `{"name":"projects/2/secrets/openai/versions/1","payload":{"data":"c2stcQ=="}}`,
		}
		switch text, ok := answers[r.URL.Path]; {
		case r.Header.Get("Authorization") != "Bearer token-1":
			w.WriteHeader(http.StatusUnauthorized)
		case ok:
			_, _ = io.WriteString(w, text)
		case r.URL.Path == "/v1/projects/p/secrets/forbidden/versions/latest:access":
			w.WriteHeader(http.StatusForbidden)
		case r.URL.Path == "/v1/projects/p/secrets/down/versions/latest:access":
			w.WriteHeader(http.StatusBadGateway)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(srv.Close)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{"project": "p", "endpoint": srv.URL, "service_account": map[string]string{
		"client_email": "a@b", "token_uri": srv.URL + "/token", "private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
	}})
	if err != nil {
		t.Fatal(err)
	}
	s := &google.SecretManager{}
	if _, err := s.Configure(t.Context(), sdk.SecretSourceSettings{Config: config}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, path, field, want string }{
		{"of the project", "openai", "", "sk-1"},
		{"of another project", "q/openai", "", "sk-q"},
		{"a version and a field", "p/openai/2", "key", "sk-2"},
		{"not there", "nope", "", "not_found"},
		{"denied", "forbidden", "", "denied"},
		{"down", "down", "", "unavailable"},
		{"a path that leads elsewhere", "p/../openai", "", "malformed"},
		{"too many parts", "a/b/c/d", "", "malformed"},
	} {
		got, err := s.Read(t.Context(), sdk.SecretAddress{Path: tt.path, Field: tt.field})
		text := got.Text.Reveal()
		if e, ok := errors.AsType[*sdk.SecretError](err); ok {
			text = string(e.Reason)
		}
		if text != tt.want {
			t.Errorf("%s: got %q, %v, want %q", tt.name, text, err, tt.want)
		}
		if tt.want == "sk-1" && got.Version != "4" {
			t.Errorf("got version %q", got.Version)
		}
	}
	if tokens.Load() != 1 {
		t.Errorf("%d tokens were asked for, want one", tokens.Load())
	}
	for _, bad := range []string{``, `{"project":"p"}`, `{"service_account":{"client_email":"x"}}`, `{"projct":"p"}`} {
		if _, err := (&google.SecretManager{}).Configure(t.Context(), sdk.SecretSourceSettings{Config: []byte(bad)}); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}
