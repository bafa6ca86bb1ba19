package google_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/google"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// secretProject is a project of Secret Manager that follows the published REST API: a secret is made before
// it gets a version.
type secretProject struct {
	mu      sync.Mutex // guards what follows
	secrets map[string][]string
}

func (p *secretProject) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.URL.Path == "/token" {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"token-1","token_type":"Bearer","expires_in":3600}`)
		return
	}
	name, verb, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/projects/p/secrets"), ":")
	name = strings.TrimSuffix(strings.Trim(name, "/"), "/versions/latest")
	versions, ok := p.secrets[name]
	switch {
	case r.Method == http.MethodPost && name == "":
		var in struct {
			Replication map[string]any `json:"replication"`
		}
		if json.NewDecoder(r.Body).Decode(&in) != nil || in.Replication["automatic"] == nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		p.secrets[r.URL.Query().Get("secretId")] = []string{}
		_, _ = io.WriteString(w, `{}`)
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	case verb == "addVersion":
		var in struct {
			Payload struct {
				Data []byte `json:"data"`
			} `json:"payload"`
		}
		if json.NewDecoder(r.Body).Decode(&in) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		p.secrets[name] = append(versions, string(in.Payload.Data))
		_, _ = fmt.Fprintf(w, `{"name":"projects/1/secrets/%s/versions/%d"}`, name, len(versions)+1)
	case verb == "access" && len(versions) > 0:
		_ = json.NewEncoder(w).Encode(map[string]any{"name": "x/versions/1", "payload": map[string]any{"data": []byte(versions[len(versions)-1])}})
	case r.Method == http.MethodDelete:
		delete(p.secrets, name)
		_, _ = io.WriteString(w, `{}`)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func TestSecretManager_Write(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(&secretProject{secrets: map[string][]string{}})
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
	for i, text := range []string{"sk-first", "sk-second"} {
		version, err := s.Write(t.Context(), sdk.SecretWritten{Path: "litellm-alice", Text: sdk.NewSecret(text), Description: "a key"})
		if err != nil || version != fmt.Sprint(i+1) {
			t.Fatalf("write: version %q, %v", version, err)
		}
		if got, err := s.Read(t.Context(), sdk.SecretAddress{Path: "litellm-alice"}); err != nil || got.Text.Reveal() != text {
			t.Errorf("got %v, %v", got.Text, err)
		}
	}
	if err := s.Delete(t.Context(), "p/litellm-alice"); err != nil {
		t.Fatal(err)
	}
	err = s.Delete(t.Context(), "p/litellm-alice")
	if e, ok := errors.AsType[*sdk.SecretError](err); !ok || e.Reason != sdk.SecretNotFound {
		t.Errorf("deleted again: %v", err)
	}
	_, err = s.Write(t.Context(), sdk.SecretWritten{Path: "p/litellm-alice/2", Text: sdk.NewSecret("x")})
	if e, ok := errors.AsType[*sdk.SecretError](err); !ok || e.Reason != sdk.SecretMalformed {
		t.Errorf("a version is written: %v", err)
	}
}
