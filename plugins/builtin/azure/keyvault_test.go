package azure_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/azure"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// cloud is a stand-in that follows the published REST APIs of Entra and of Key Vault.
type cloud struct {
	*httptest.Server
	mu     sync.Mutex // guards what follows
	tokens int
	good   string // the token that is taken
	kept   map[string]string
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	a := &cloud{kept: map[string]string{}}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

func (a *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.URL.Path == "/tenant/oauth2/v2.0/token" {
		good := r.FormValue("client_id") == "app" && r.FormValue("scope") == "https://vault.azure.net/.default" &&
			(r.FormValue("client_secret") == "hush" || r.FormValue("client_assertion") == "jwt")
		if !good {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":"invalid_client"}`)
			return
		}
		a.tokens++
		a.good = fmt.Sprintf("t%d", a.tokens)
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": a.good, "expires_in": 3600})
		return
	}
	answers := map[string]string{
		"/secrets/openai":   `{"value":"sk-1","id":"https://v.vault.azure.net/secrets/openai/abc"}`,
		"/secrets/openai/1": `{"value":"{\"key\":\"sk-0\"}","id":"https://v.vault.azure.net/secrets/openai/1"}`,
	}
	switch text, ok := answers[r.URL.Path]; {
	case r.Header.Get("Authorization") != "Bearer "+a.good || r.URL.Query().Get("api-version") != "7.4":
		w.WriteHeader(http.StatusUnauthorized)
	case ok:
		_, _ = io.WriteString(w, text)
	case r.URL.Path == "/secrets/was-deleted":
		w.WriteHeader(http.StatusConflict)
	case r.Method == http.MethodPut:
		var in struct {
			Value string `json:"value"`
		}
		_ = json.NewDecoder(r.Body).Decode(&in)
		a.kept[r.URL.Path] = in.Value
		a.show(w, r.URL.Path)
	case a.kept[r.URL.Path] != "":
		a.show(w, r.URL.Path)
		if r.Method == http.MethodDelete {
			delete(a.kept, r.URL.Path)
		}
	case r.URL.Path == "/secrets/disabled":
		w.WriteHeader(http.StatusForbidden)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (a *cloud) show(w http.ResponseWriter, path string) {
	_ = json.NewEncoder(w).Encode(map[string]string{"value": a.kept[path], "id": "https://v.vault.azure.net" + path + "/v7"})
}

func TestKeyVault_Write(t *testing.T) {
	t.Parallel()
	k := configure(t, newCloud(t), map[string]string{"client_secret": "hush"})
	for _, text := range []string{"sk-first", "sk-second"} {
		version, err := k.Write(t.Context(), sdk.SecretWritten{Path: "litellm-alice", Text: sdk.NewSecret(text), Description: "a key"})
		if err != nil || version != "v7" {
			t.Fatalf("write: version %q, %v", version, err)
		}
		if got := read(t, k, "litellm-alice", ""); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
	}
	if err := k.Delete(t.Context(), "litellm-alice"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"litellm-alice": string(sdk.SecretNotFound), "litellm/alice": string(sdk.SecretMalformed)} {
		err := k.Delete(t.Context(), path)
		if e, ok := errors.AsType[*sdk.SecretError](err); !ok || string(e.Reason) != want {
			t.Errorf("delete %s: %v, want %s", path, err, want)
		}
	}
	_, err := k.Write(t.Context(), sdk.SecretWritten{Path: "was-deleted", Text: sdk.NewSecret("x")})
	if e, ok := errors.AsType[*sdk.SecretError](err); !ok || e.Reason != sdk.SecretUnavailable {
		t.Errorf("a name that is kept deleted: %v", err)
	}
}

func configure(t *testing.T, a *cloud, more map[string]string) *azure.KeyVault {
	t.Helper()
	config := map[string]string{"vault_url": a.URL, "authority_host": a.URL + "/", "tenant_id": "tenant", "client_id": "app"}
	maps.Copy(config, more)
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	k := &azure.KeyVault{}
	if _, err := k.Configure(t.Context(), sdk.SecretSourceSettings{Config: text}); err != nil {
		t.Fatal(err)
	}
	return k
}

func read(t *testing.T, k *azure.KeyVault, path, field string) string {
	t.Helper()
	got, err := k.Read(t.Context(), sdk.SecretAddress{Path: path, Field: field})
	if e, ok := errors.AsType[*sdk.SecretError](err); ok {
		return string(e.Reason)
	} else if err != nil {
		t.Fatal(err)
	}
	return got.Text.Reveal()
}

func TestKeyVault(t *testing.T) {
	t.Parallel()
	a := newCloud(t)
	k := configure(t, a, map[string]string{"client_secret": "hush"})
	for _, tt := range []struct{ name, path, field, want string }{
		{"newest", "openai", "", "sk-1"},
		{"a version and a field", "openai/1", "key", "sk-0"},
		{"not there", "nope", "", "not_found"},
		{"disabled", "disabled", "", "denied"},
		{"a path that leads elsewhere", "../keys/x", "", "malformed"},
		{"a query", "openai?x=1", "", "malformed"},
	} {
		if got := read(t, k, tt.path, tt.field); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	if a.tokens != 1 {
		t.Errorf("%d tokens were asked for, want one", a.tokens)
	}
	a.mu.Lock()
	a.good = "revoked"
	a.mu.Unlock()
	if first, second := read(t, k, "openai", ""), read(t, k, "openai", ""); first != "denied" || second != "sk-1" {
		t.Errorf("after the token was revoked got %q, then %q", first, second)
	}
	a.Close()
	if got := read(t, k, "openai", ""); got != "unavailable" {
		t.Errorf("down: got %q", got)
	}
}

func TestKeyVault_Logins(t *testing.T) {
	t.Parallel()
	a, file := newCloud(t), filepath.Join(t.TempDir(), "jwt")
	if err := os.WriteFile(file, []byte("jwt\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		more map[string]string
		want string
	}{
		{"workload identity", map[string]string{"federated_token_file": file}, "sk-1"},
		{"a file that is not there", map[string]string{"federated_token_file": file + "x"}, "denied"},
		{"a wrong secret", map[string]string{"client_secret": "wrong"}, "denied"},
	} {
		if got := read(t, configure(t, a, tt.more), "openai", ""); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	for _, bad := range []string{``, `{"tenant_id":"t","client_id":"c","vault_url":"https://v"}`, `{"tenant_id":"t","client_id":"c","client_secret":"x","vault_url":"v"}`} {
		if _, err := (&azure.KeyVault{}).Configure(t.Context(), sdk.SecretSourceSettings{Config: []byte(bad)}); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}
