package vaultkv_test

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
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/plugins/builtin/vaultkv"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// fakeVault answers as Vault's HTTP API is documented to: an engine of version 2 at secret, one of
// version 1 at team/old, AppRole, Kubernetes and tokens.
type fakeVault struct {
	*httptest.Server
	mu      sync.Mutex // guards what follows
	tokens  map[string]bool
	sealed  bool
	ttl     int // seconds of a login's token; 0: it lasts
	logins  int
	renewed int
	asked   []string // methods and paths
	written map[string]map[string]any
}

func newVault(t *testing.T) *fakeVault {
	t.Helper()
	f := &fakeVault{tokens: map[string]bool{"s.root": true}, written: map[string]map[string]any{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeVault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, r.Method+" "+r.URL.Path)
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	switch {
	case f.sealed:
		refuse(w, http.StatusServiceUnavailable)
	case strings.HasPrefix(path, "auth/") && strings.HasSuffix(path, "/login"):
		f.login(w, r, path)
	case !f.tokens[r.Header.Get("X-Vault-Token")]:
		refuse(w, http.StatusForbidden)
	case path == "auth/token/renew-self":
		f.renewed++
		f.auth(w, r.Header.Get("X-Vault-Token"))
	case path == "auth/token/lookup-self":
		answer(w, map[string]any{"data": map[string]any{"renewable": false, "ttl": 0}})
	case strings.HasPrefix(path, "sys/internal/ui/mounts/secret/"):
		answer(w, map[string]any{"data": map[string]any{"path": "secret/", "type": "kv", "options": map[string]any{"version": "2"}}})
	case strings.HasPrefix(path, "sys/internal/ui/mounts/team/old/"), strings.HasPrefix(path, "sys/internal/ui/mounts/team/"):
		answer(w, map[string]any{"data": map[string]any{"path": "team/old/", "type": "kv", "options": map[string]any{"version": "1"}}})
	case r.Method == http.MethodPut || r.Method == http.MethodPost:
		f.write(w, r, path)
	case r.Method == http.MethodDelete && (strings.HasPrefix(path, "secret/metadata/") || strings.HasPrefix(path, "team/old/")):
		delete(f.written, strings.Replace(path, "/metadata/", "/data/", 1))
		w.WriteHeader(http.StatusNoContent)
	default:
		f.read(w, path, r.Header.Get("X-Vault-Namespace"))
	}
}

func (f *fakeVault) write(w http.ResponseWriter, r *http.Request, path string) {
	var in map[string]any
	_ = json.NewDecoder(r.Body).Decode(&in)
	fields := in
	if strings.HasPrefix(path, "secret/") {
		fields, _ = in["data"].(map[string]any)
	}
	if fields == nil || strings.HasSuffix(path, "/forbidden") {
		refuse(w, http.StatusForbidden)
		return
	}
	f.written[path] = fields
	if !strings.HasPrefix(path, "secret/") {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	answer(w, map[string]any{"data": map[string]any{"version": 5, "created_time": "2026-01-01T00:00:00Z", "deletion_time": "", "destroyed": false}})
}

func (f *fakeVault) read(w http.ResponseWriter, path, namespace string) {
	data := map[string]map[string]any{
		"openai": {"key": "sk-1", "org": "o", "n": 7, "deep": map[string]any{"a": true}}, "single": {"token": "only"}, "two": {"a": "1", "b": "2"}, "app/db": {"password": "hunter2"},
	}
	if namespace == "blue" {
		data["openai"]["key"] = "sk-blue"
	}
	switch {
	case strings.HasPrefix(path, "secret/data/") && f.written[path] != nil:
		answer(w, map[string]any{"data": map[string]any{"data": f.written[path], "metadata": map[string]any{"version": 5, "created_time": "2026-01-01T00:00:00Z", "deletion_time": "", "destroyed": false}}})
	case f.written[path] != nil:
		answer(w, map[string]any{"data": f.written[path]})
	case path == "secret/data/forbidden":
		refuse(w, http.StatusForbidden)
	case path == "secret/data/deleted": // as version 2 answers for a deleted version
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"data":{"data":null,"metadata":{"created_time":"2026-01-01T00:00:00Z","deletion_time":"2026-02-01T00:00:00Z","destroyed":false,"version":2}}}`)
	case strings.HasPrefix(path, "secret/data/") && data[strings.TrimPrefix(path, "secret/data/")] != nil:
		answer(w, map[string]any{"data": map[string]any{
			"data":     data[strings.TrimPrefix(path, "secret/data/")],
			"metadata": map[string]any{"version": 4, "created_time": "2026-01-01T00:00:00Z", "deletion_time": "", "destroyed": false},
		}})
	case path == "team/old/openai":
		answer(w, map[string]any{"data": map[string]any{"key": "sk-old"}})
	default:
		refuse(w, http.StatusNotFound)
	}
}

func (f *fakeVault) login(w http.ResponseWriter, r *http.Request, path string) {
	if strings.HasPrefix(path, "auth/nowhere/") {
		refuse(w, http.StatusNotFound)
		return
	}
	var in map[string]string
	_ = json.NewDecoder(r.Body).Decode(&in)
	good := path == "auth/approle/login" && in["role_id"] == "r" && in["secret_id"] == "s" ||
		path == "auth/k8s/login" && in["role"] == "gateway" && in["jwt"] == "pod-jwt"
	if !good {
		refuse(w, http.StatusBadRequest)
		return
	}
	f.logins++
	token := fmt.Sprintf("s.login%d", f.logins)
	f.tokens[token] = true
	f.auth(w, token)
}

func (f *fakeVault) auth(w http.ResponseWriter, token string) {
	answer(w, map[string]any{"auth": map[string]any{"client_token": token, "renewable": f.ttl > 0, "lease_duration": f.ttl}})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, status int) {
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"errors":["a detail that is nobody's business"]}`)
}

func (f *fakeVault) do(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// configure configures a source; config lacks the address.
func configure(t *testing.T, address string, config map[string]any) (*vaultkv.Vault, error) {
	t.Helper()
	config["address"] = address
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	v := &vaultkv.Vault{}
	_, err = v.Configure(t.Context(), sdk.SecretSourceSettings{Name: "vault", Config: text})
	return v, err
}

// read is the value, or the reason why there is none.
func read(t *testing.T, v *vaultkv.Vault, path, field string) string {
	t.Helper()
	got, err := v.Read(t.Context(), sdk.SecretAddress{Path: path, Field: field})
	if e, ok := errors.AsType[*sdk.SecretError](err); ok {
		if strings.Contains(e.Text, "nobody's business") {
			t.Errorf("%s: the error repeats what Vault says: %s", path, e.Text)
		}
		return string(e.Reason)
	} else if err != nil {
		t.Fatalf("read %s: %v is no *SecretError", path, err)
	}
	return got.Text.Reveal()
}

func TestVault_Read(t *testing.T) {
	t.Parallel()
	f := newVault(t)
	token := func(more map[string]any) map[string]any {
		c := map[string]any{"token": "s.root"}
		maps.Copy(c, more)
		return c
	}
	for _, tt := range []struct {
		name        string
		config      map[string]any
		path, field string
		want        string
	}{
		{"version 2", token(nil), "secret/openai", "key", "sk-1"},
		{"version 2, said", token(map[string]any{"kv": 2}), "secret/openai", "org", "o"},
		{"version 1 in a mount of two parts", token(map[string]any{"mount": "team/old"}), "openai", "key", "sk-old"},
		{"version 1, said", token(map[string]any{"mount": "/team/old/", "kv": 1}), "/openai", "", "sk-old"},
		{"a prefix", token(map[string]any{"mount": "secret", "path_prefix": "app/"}), "db", "password", "hunter2"},
		{"a namespace", token(map[string]any{"namespace": "blue"}), "secret/openai", "", "sk-blue"},
		{"a number", token(nil), "secret/openai", "n", "7"},
		{"an object", token(nil), "secret/openai", "deep", `{"a":true}`},
		{"no field, key is there", token(nil), "secret/openai", "", "sk-1"},
		{"no field, only one", token(nil), "secret/single", "", "only"},
		{"no field, of several", token(nil), "secret/two", "", "malformed"},
		{"a field that there is not", token(nil), "secret/openai", "nope", "not_found"},
		{"a secret that there is not", token(nil), "secret/nope", "key", "not_found"},
		{"a deleted version", token(nil), "secret/deleted", "key", "not_found"},
		{"no policy for it", token(nil), "secret/forbidden", "key", "denied"},
		{"a token that is not good", map[string]any{"token": "s.other"}, "secret/openai", "key", "denied"},
		{"a path without an engine", token(nil), "openai", "key", "malformed"},
		{"a path that leads elsewhere", token(map[string]any{"mount": "secret"}), "../sys/seal", "key", "malformed"},
		{"a path with an escape", token(nil), "secret/%2e%2e", "key", "malformed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v, err := configure(t, f.URL, tt.config)
			if err != nil {
				t.Fatal(err)
			}
			if got := read(t, v, tt.path, tt.field); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestVault_Version(t *testing.T) {
	t.Parallel()
	v, err := configure(t, newVault(t).URL, map[string]any{"token": "s.root"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := v.Read(t.Context(), sdk.SecretAddress{Path: "secret/openai"}); err != nil || got.Version != "4" {
		t.Errorf("got version %q, %v", got.Version, err)
	}
}

func TestVault_Logins(t *testing.T) {
	t.Parallel()
	jwt := filepath.Join(t.TempDir(), "jwt")
	if err := os.WriteFile(jwt, []byte("pod-jwt\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		config map[string]any
		want   string
	}{
		{"approle", map[string]any{"auth": "approle", "role_id": "r", "secret_id": "s"}, "sk-1"},
		{"approle that is refused", map[string]any{"auth": "approle", "role_id": "r"}, "denied"},
		{"approle where nothing is", map[string]any{"auth": "approle", "auth_mount": "nowhere", "role_id": "r", "secret_id": "s"}, "denied"},
		{"kubernetes", map[string]any{"auth": "kubernetes", "auth_mount": "k8s", "role": "gateway", "token_file": jwt}, "sk-1"},
		{"kubernetes without a pod", map[string]any{"auth": "kubernetes", "role": "gateway", "token_file": jwt + "x"}, "unavailable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newVault(t)
			v, err := configure(t, f.URL, tt.config)
			if err != nil {
				t.Fatal(err)
			}
			if got := read(t, v, "secret/openai", "key"); got != tt.want {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
			if tt.want != "sk-1" {
				return
			}
			read(t, v, "secret/single", "")
			if f.do(func() { clear(f.tokens) }); f.logins != 1 {
				t.Errorf("%d logins for two reads", f.logins)
			}
			if got := read(t, v, "secret/openai", "key"); got != "sk-1" || f.logins != 2 {
				t.Errorf("after the token was revoked: got %q with %d logins", got, f.logins)
			}
		})
	}
}

// A token that expires is renewed before it does, and its login is repeated when it may not be.
func TestVault_Renews(t *testing.T) {
	t.Parallel()
	f := newVault(t)
	f.ttl = 60
	v, err := configure(t, f.URL, map[string]any{"auth": "approle", "role_id": "r", "secret_id": "s"})
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, v, "secret/openai", "key"); got != "sk-1" {
		t.Fatalf("got %q", got)
	}
	await(t, "the token is renewed", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.renewed > 0 })
}

func TestVault_Sealed(t *testing.T) {
	t.Parallel()
	f := newVault(t)
	f.sealed = true
	v, err := configure(t, f.URL, map[string]any{"auth": "approle", "role_id": "r", "secret_id": "s"})
	if err != nil {
		t.Fatalf("a sealed Vault keeps the source from being configured: %v", err)
	}
	if got := read(t, v, "secret/openai", "key"); got != "unavailable" {
		t.Errorf("sealed: got %q", got)
	}
	f.do(func() { f.sealed = false })
	if got := read(t, v, "secret/openai", "key"); got != "sk-1" {
		t.Errorf("unsealed: got %q", got)
	}
	f.Close()
	if got := read(t, v, "secret/openai", "key"); got != "unavailable" {
		t.Errorf("down: got %q", got)
	}
}

func TestVault_Refuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		config string
		want   string
	}{
		{"nothing", ``, "token: is missing"},
		{"no address", `{"token":"x"}`, "address"},
		{"an address that is none", `{"token":"x","address":"vault.corp"}`, "address"},
		{"an unknown way to log in", `{"auth":"ldap","address":"https://v"}`, "auth"},
		{"approle without a role", `{"auth":"approle","address":"https://v"}`, "role_id"},
		{"a certificate that is none", `{"auth":"cert","client_cert":"x","client_key":"y","address":"https://v"}`, "client_cert"},
		{"an unknown version", `{"token":"x","kv":3,"address":"https://v"}`, "kv"},
		{"an unknown field", `{"token":"x","url":"https://v"}`, "url"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := (&vaultkv.Vault{}).Configure(t.Context(), sdk.SecretSourceSettings{Config: []byte(tt.config)})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(10 * time.Second)
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for !ok() {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
		<-look.C
	}
}

// What is written can be read without a field, and is away when it is deleted, in both versions of the engine.
func TestVault_Write(t *testing.T) {
	t.Parallel()
	f := newVault(t)
	for _, tt := range []struct {
		name    string
		config  map[string]any
		path    string
		version string
	}{
		{"version 2", map[string]any{"token": "s.root"}, "secret/litellm/alice", "5"},
		{"version 1", map[string]any{"token": "s.root", "mount": "team/old"}, "litellm/alice", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, err := configure(t, f.URL, tt.config)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"sk-first", "sk-second"} {
				version, err := v.Write(t.Context(), sdk.SecretWritten{Path: tt.path, Text: sdk.NewSecret(text), Description: "a key"})
				if err != nil || version != tt.version {
					t.Fatalf("write: version %q, %v", version, err)
				}
				if got := read(t, v, tt.path, ""); got != text {
					t.Errorf("got %q, want %q", got, text)
				}
			}
			if err := v.Delete(t.Context(), tt.path); err != nil {
				t.Fatal(err)
			}
			if got := read(t, v, tt.path, ""); got != "not_found" {
				t.Errorf("after the deletion: %q", got)
			}
		})
	}
	v, err := configure(t, f.URL, map[string]any{"token": "s.root"})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"secret/forbidden": string(sdk.SecretDenied), "alone": string(sdk.SecretMalformed)} {
		_, err := v.Write(t.Context(), sdk.SecretWritten{Path: path, Text: sdk.NewSecret("x")})
		if e, ok := errors.AsType[*sdk.SecretError](err); !ok || string(e.Reason) != want {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}
