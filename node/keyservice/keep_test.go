package keyservice_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/node/keyservice"
)

// TestKeep writes to a stand-in of Vault's KV engine, which gives tokens to an AppRole.
func TestKeep(t *testing.T) {
	t.Parallel()
	stored := map[string]string{}
	v1 := false
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			RoleID string            `json:"role_id"`
			Data   map[string]string `json:"data"`
		}
		if json.NewDecoder(r.Body).Decode(&in) != nil || r.Header.Get("X-Vault-Namespace") != "team" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		switch {
		case r.URL.Path == "/v1/auth/approle/login" && in.RoleID == "role":
			_, _ = w.Write([]byte(`{"auth":{"client_token":"given"}}`))
		case r.URL.Path != "/v1/secret/data/conclave/keys/key_1":
			w.WriteHeader(http.StatusNotFound)
		case r.Header.Get("X-Vault-Token") != "given" && r.Header.Get("X-Vault-Token") != "own":
			w.WriteHeader(http.StatusForbidden)
		case v1:
			_, _ = w.Write([]byte(`{}`))
		default:
			stored = in.Data
			_, _ = w.Write([]byte(`{"data":{"version":3}}`))
		}
	}))
	t.Cleanup(vault.Close)
	env := map[string]string{"VAULT_ROLE_ID": "role", "VAULT_NAMESPACE": "team"}
	s := keyservice.New(keyservice.Config{Client: vault.Client(), Env: func(name string) string { return env[name] }})
	at := keyservice.Shelf{API: vault.URL + "/v1", URL: vault.URL + "/v1/secret/data/conclave/keys/key_1"}
	if err := s.Keep(t.Context(), at, map[string]string{"key": "sk-new"}); err != nil || stored["key"] != "sk-new" {
		t.Errorf("by AppRole: got %v, stored %v", err, stored)
	}
	at.Token, at.Namespace = "own", "team"
	if err := s.Keep(t.Context(), at, map[string]string{"key": "sk-newer"}); err != nil || stored["key"] != "sk-newer" {
		t.Errorf("by a token: got %v, stored %v", err, stored)
	}
	at.Token = "wrong"
	if err := s.Keep(t.Context(), at, map[string]string{"key": "sk-lost"}); err == nil || strings.Contains(err.Error(), "sk-lost") {
		t.Errorf("a wrong token: got %v", err)
	}
	at.Token, v1 = "own", true
	if err := s.Keep(t.Context(), at, map[string]string{"key": "x"}); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("another engine: got %v", err)
	}
}
