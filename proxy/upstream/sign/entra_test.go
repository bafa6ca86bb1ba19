package sign_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
	"github.com/conclave-llm/conclave/secret"
)

// entra is a service of tokens that gives the nth, good for an hour.
type entra struct {
	*httptest.Server
	asked atomic.Int64
	mu    sync.Mutex // guards what follows
	path  string
	form  url.Values
	fail  bool
}

func newEntra(t *testing.T) *entra {
	e := new(entra)
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := e.asked.Add(1)
		_ = r.ParseForm()
		e.mu.Lock()
		defer e.mu.Unlock()
		e.path, e.form = r.URL.Path, r.Form
		if e.fail {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":"invalid_client","error_description":"AADSTS7000215: tenant detail"}`)
			return
		}
		if r.Method == http.MethodGet {
			_, _ = fmt.Fprintf(w, `{"access_token":"managed%d","expires_in":"3600","resource":%q,"token_type":"Bearer"}`, n, r.Form.Get("resource"))
			return
		}
		_, _ = fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3599,"access_token":"token%d"}`, n)
	}))
	t.Cleanup(e.Close)
	return e
}

// auth signs a request and returns its headers.
func auth(t *testing.T, s *sign.Signer, a *sign.Account, address string) http.Header {
	t.Helper()
	r := request(t, address)
	if err := s.Sign(t.Context(), provider.EntraToken, a, r); err != nil {
		t.Error(err)
	}
	return r.Header
}

func TestEntra_Secret(t *testing.T) {
	t.Parallel()
	c, srv := newClock(), newEntra(t)
	s := sign.New(sign.Config{Now: c.now})
	a := &sign.Account{
		Options: map[string]string{"tenant_id": "t", "client_id": "c", "azure_authority_host": srv.URL + "/"},
		Secrets: map[string]secret.Text{"client_secret": secret.New("hush")},
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if got := auth(t, s, a, "https://r.openai.azure.com/x").Get("Authorization"); got != "Bearer token1" {
				t.Errorf("got %q", got)
			}
		})
	}
	all.Wait()
	if srv.asked.Load() != 1 || srv.path != "/t/oauth2/v2.0/token" || srv.form.Get("client_secret") != "hush" ||
		srv.form.Get("scope") != "https://cognitiveservices.azure.com/.default" || srv.form.Get("grant_type") != "client_credentials" {
		t.Errorf("%d requests, the last of %s: %v", srv.asked.Load(), srv.path, srv.form)
	}
	c.advance(time.Hour)
	if got := auth(t, s, a, "https://h/x").Get("Authorization"); got != "Bearer token2" {
		t.Errorf("after it expired got %q, want a new token", got)
	}
	srv.mu.Lock()
	srv.fail = true
	srv.mu.Unlock()
	c.advance(2 * time.Hour)
	err := s.Sign(t.Context(), provider.EntraToken, a, request(t, "https://h/x"))
	if err == nil || !strings.Contains(err.Error(), "invalid_client") || strings.Contains(err.Error(), "detail") {
		t.Errorf("refused: got %v", err)
	}
}

func TestEntra_Workload(t *testing.T) {
	t.Parallel()
	srv, file := newEntra(t), filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("eyJh.eyJz.c2ln"), 0o600); err != nil {
		t.Fatal(err)
	}
	options := map[string]string{"tenant_id": "t", "client_id": "c", "azure_authority_host": srv.URL, "azure_federated_token_file": file}
	env := map[string]string{"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_AUTHORITY_HOST": srv.URL, "AZURE_FEDERATED_TOKEN_FILE": file}
	s := sign.New(sign.Config{Env: func(name string) string { return env[name] }})
	for name, o := range map[string]map[string]string{"options": options, "environment": {"azure_use_environment": "true"}} {
		h := auth(t, s, &sign.Account{Options: o}, "https://h/x")
		if !strings.HasPrefix(h.Get("Authorization"), "Bearer token") || srv.form.Get("client_assertion") != "eyJh.eyJz.c2ln" {
			t.Errorf("%s: got %v with %v", name, h, srv.form)
		}
	}
	if err := s.Sign(t.Context(), provider.EntraToken, &sign.Account{}, request(t, "https://h/x")); err == nil {
		t.Error("the environment is used though nobody said so")
	}
}

func TestEntra_Managed(t *testing.T) {
	t.Parallel()
	srv := newEntra(t)
	env := map[string]string{"IDENTITY_ENDPOINT": srv.URL + "/identity", "IDENTITY_HEADER": "x"}
	s := sign.New(sign.Config{Env: func(name string) string { return env[name] }})
	h := auth(t, s, &sign.Account{Options: map[string]string{"azure_use_environment": "true"}}, "https://h/x")
	if h.Get("Authorization") != "Bearer managed1" || srv.form.Get("resource") != "https://cognitiveservices.azure.com" {
		t.Errorf("got %v with %v", h, srv.form)
	}
}

func TestEntra_Keys(t *testing.T) {
	t.Parallel()
	s := sign.New(sign.Config{})
	a := &sign.Account{Key: secret.New("k")}
	if h := auth(t, s, a, "https://r.openai.azure.com/x"); h.Get("Api-Key") != "k" || h.Get("Authorization") != "" {
		t.Errorf("a resource: got %v", h)
	}
	if h := auth(t, s, a, "https://m.eastus2.models.ai.azure.com/x"); h.Get("Authorization") != "Bearer k" || h.Get("Api-Key") != "" {
		t.Errorf("a model's own address: got %v", h)
	}
	b := &sign.Account{Secrets: map[string]secret.Text{"azure_ad_token": secret.New("given")}}
	if h := auth(t, s, b, "https://r.openai.azure.com/x"); h.Get("Authorization") != "Bearer given" {
		t.Errorf("a token: got %v", h)
	}
}
