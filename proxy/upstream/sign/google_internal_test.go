package sign

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/secret"
)

// tokenService is Google's, or a metadata server: it answers with numbered tokens of an hour.
type tokenService struct {
	asked  atomic.Int64
	status atomic.Int64 // 0: 200
	seen   sync.Map     // the form of each request
	hold   chan struct{}
}

func (s *tokenService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := s.asked.Add(1)
	_ = r.ParseForm()
	s.seen.Store(n, r.Form)
	if s.hold != nil {
		select {
		case <-s.hold:
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Metadata-Flavor", "Google")
	if c := int(s.status.Load()); c != 0 {
		w.WriteHeader(c)
		_, _ = w.Write([]byte(`{"error":"invalid_grant","error_description":"the secret is hush"}`))
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "token-" + string(rune('0'+n)), "expires_in": 3600, "token_type": "Bearer", "issued_token_type": "x"})
}

// start serves it, whatever the host is that is asked for, and returns a signer of its own clock.
func (s *tokenService) start(t *testing.T) (*googleToken, *shifted) {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	to, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := &shifted{}
	return newGoogleToken(Config{Now: c.now, Client: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.URL.Scheme, r.URL.Host = to.Scheme, to.Host
		return http.DefaultTransport.RoundTrip(r)
	})}}), c
}

// shifted is the time and what was added to it.
type shifted struct{ ahead atomic.Int64 }

func (c *shifted) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func user() *Account {
	return &Account{Secrets: map[string]secret.Text{"vertex_credentials": secret.New(
		`{"type":"authorized_user","client_id":"id","client_secret":"hush","refresh_token":"again","quota_project_id":"payer"}`)}}
}

func signed(t *testing.T, g *googleToken, a *Account) string {
	t.Helper()
	r := &Request{Header: http.Header{}}
	if err := g.sign(t.Context(), a, r); err != nil {
		t.Fatal(err)
	}
	return r.Header.Get("Authorization") + r.Header.Get("X-Goog-Api-Key")
}

// until waits for what happens beside the requests.
func until(t *testing.T, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !is(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
	}
}

func TestGoogle_User(t *testing.T) {
	t.Parallel()
	var s tokenService
	g, clock := s.start(t)
	r := &Request{Header: http.Header{}}
	if err := g.sign(t.Context(), user(), r); err != nil || r.Header.Get("Authorization") != "Bearer token-1" || r.Header.Get("X-Goog-User-Project") != "payer" {
		t.Fatalf("got %v, %v", r.Header, err)
	}
	form, _ := s.seen.Load(int64(1))
	if f := form.(url.Values); f.Get("refresh_token") != "again" || f.Get("grant_type") != "refresh_token" {
		t.Errorf("the service was asked %v", f)
	}
	// Another account with the same credentials has the same token, until it nears its end.
	if got := signed(t, g, user()); got != "Bearer token-1" {
		t.Errorf("got %s", got)
	}
	clock.ahead.Store(int64(59 * time.Minute))
	if got := signed(t, g, user()); !strings.HasPrefix(got, "Bearer token-") {
		t.Errorf("got %s near the end", got)
	}
	until(t, func() bool { return signed(t, g, user()) == "Bearer token-2" })
}

// TestGoogle_RenewFails: a token that lasts goes on when it cannot be renewed, and the service is
// not asked by every request; one that has ended does not.
func TestGoogle_RenewFails(t *testing.T) {
	t.Parallel()
	var s tokenService
	g, clock := s.start(t)
	signed(t, g, user())
	s.status.Store(503)
	clock.ahead.Store(int64(59 * time.Minute))
	for range 3 {
		if got := signed(t, g, user()); got != "Bearer token-1" {
			t.Errorf("got %s", got)
		}
	}
	until(t, func() bool { return s.asked.Load() == 2 })
	clock.ahead.Store(int64(61 * time.Minute))
	err := g.sign(t.Context(), user(), &Request{Header: http.Header{}})
	if err == nil || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), "invalid_grant") || strings.Contains(err.Error(), "hush") {
		t.Errorf("got %v", err)
	}
}

// TestGoogle_Canceled: a request that is given up while it fetches a token leaves that to the
// next, and those who wait for it may be given up too.
func TestGoogle_Canceled(t *testing.T) {
	t.Parallel()
	s := tokenService{hold: make(chan struct{})}
	g, _ := s.start(t)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 2)
	for range 2 {
		go func() { failed <- g.sign(ctx, user(), &Request{Header: http.Header{}}) }()
	}
	got := make(chan string, 1)
	go func() {
		r := &Request{Header: http.Header{}}
		_ = g.sign(t.Context(), user(), r)
		got <- r.Header.Get("Authorization")
	}()
	cancel()
	for range 2 {
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	close(s.hold)
	if h := <-got; !strings.HasPrefix(h, "Bearer token-") {
		t.Errorf("got %q", h)
	}
}

func TestGoogle_Workload(t *testing.T) {
	t.Parallel()
	var s tokenService
	g, _ := s.start(t)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("subject"), 0o600); err != nil {
		t.Fatal(err)
	}
	quoted, _ := json.Marshal(file)
	config := func(tokenURL, source string) *Account {
		return &Account{
			Options: map[string]string{"google_auth": "workload_identity"},
			Secrets: map[string]secret.Text{"vertex_credentials": secret.New(`{"type":"external_account","audience":"//iam.googleapis.com/x","subject_token_type":"urn:ietf:params:oauth:token-type:jwt","token_url":"` + tokenURL + `","credential_source":` + source + `}`)},
		}
	}
	good := config("https://sts.googleapis.com/v1/token", `{"file":`+string(quoted)+`}`)
	if got := signed(t, g, good); got != "Bearer token-1" {
		t.Errorf("got %s", got)
	}
	form, _ := s.seen.Load(int64(1))
	if f := form.(url.Values); f.Get("subject_token") != "subject" {
		t.Errorf("the service was asked %v", f)
	}
	unasked := config("https://sts.googleapis.com/v1/token", `{"file":`+string(quoted)+`}`)
	unasked.Options = nil
	for name, a := range map[string]*Account{
		"not asked for":  unasked,
		"another's host": config("https://evil.example/v1/token", `{"file":`+string(quoted)+`}`),
		"looks like one": config("https://googleapis.com.evil.example/token", `{"file":`+string(quoted)+`}`),
		"runs a program": config("https://sts.googleapis.com/v1/token", `{"executable":{"command":"id"}}`),
		"of the machine": config("https://sts.googleapis.com/v1/token", `{"environment_id":"aws1"}`),
		"no such file":   config("https://sts.googleapis.com/v1/token", `{"file":"/nowhere"}`),
		"an unknown way": {Options: map[string]string{"google_auth": "guess"}},
		"another type":   {Secrets: map[string]secret.Text{"vertex_credentials": secret.New(`{"type":"gdch_service_account"}`)}},
		"a file's name":  {Secrets: map[string]secret.Text{"vertex_credentials": secret.New(`/etc/key.json`)}},
		"a broken key":   {Secrets: map[string]secret.Text{"vertex_credentials": secret.New(`{"type":"service_account","private_key":"hush"}`)}},
		"nothing at all": {},
	} {
		if err := g.sign(t.Context(), a, &Request{Header: http.Header{}}); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if n := s.asked.Load(); n != 1 {
		t.Errorf("the service was asked %d times, want 1", n)
	}
}

func TestGoogle_Machine(t *testing.T) {
	t.Parallel()
	var s tokenService
	g, _ := s.start(t)
	if got := signed(t, g, &Account{Options: map[string]string{"google_auth": "metadata"}}); got != "Bearer token-1" {
		t.Errorf("got %s", got)
	}
}

func TestGoogle_Keys(t *testing.T) {
	t.Parallel()
	var s tokenService
	g, _ := s.start(t)
	for key, want := range map[string]string{"AIzaKey": "AIzaKey", "ya29.token": "Bearer ya29.token"} {
		if got := signed(t, g, &Account{Key: secret.New(key)}); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if s.asked.Load() != 0 {
		t.Error("a token was fetched")
	}
}
