package oauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// memory is a store that all nodes see at once.
type memory struct {
	mu     sync.Mutex
	tokens map[string]*resource.MCPToken
	at     map[string]uint64
	index  uint64
	fail   error
}

func (m *memory) Token(_ context.Context, id string) (*resource.MCPToken, uint64, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.tokens[id]
	return t, m.at[id], ok, m.fail
}

func (m *memory) Newest(ctx context.Context, id string) (*resource.MCPToken, uint64, bool, error) {
	return m.Token(ctx, id)
}

func (m *memory) Put(_ context.Context, t *resource.MCPToken, read uint64, replace bool) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !replace && m.at[t.ID] != read {
		return 0, resource.ErrConflict
	}
	m.index++
	m.tokens[t.ID], m.at[t.ID] = t, m.index
	return m.index, nil
}

func (m *memory) Delete(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.tokens, id)
	return nil
}

// plain seals nothing, but binds.
type plain struct{}

func (plain) Seal(t secret.Text, kind, id, field string) (*resource.Sealed, error) {
	return &resource.Sealed{DEK: "d", Box: []byte(kind + "|" + id + "|" + field + "|" + t.Reveal())}, nil
}

func (plain) Open(s *resource.Sealed, kind, id, field string) (secret.Text, error) {
	text, ok := strings.CutPrefix(string(s.Box), kind+"|"+id+"|"+field+"|")
	if !ok || s.DEK != "d" {
		return secret.Text{}, errors.New("not sealed so")
	}
	return secret.New(text), nil
}

type tripper func(*http.Request) (*http.Response, error)

func (t tripper) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

func says(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func server(o resource.MCPOAuth) *Server {
	return &Server{MCPServer: &resource.MCPServer{
		Meta: resource.Meta{ID: "s1", Version: 1}, Name: "git",
		MCPUpstream: resource.MCPUpstream{URL: "https://git.example/mcp", Auth: resource.MCPAuthOAuth, OAuth: &o},
	}}
}

func client(m *memory, do tripper) *Client {
	return New(Config{HTTP: do, Store: m, Sealer: plain{}, Now: func() time.Time { return start }, Logger: slog.New(slog.DiscardHandler)})
}

// TestToken_refreshedOnce: of many nodes one uses a refresh token, and all get what it gave.
func TestToken_refreshedOnce(t *testing.T) {
	t.Parallel()
	m := &memory{tokens: map[string]*resource.MCPToken{}, at: map[string]uint64{}}
	var mu sync.Mutex
	asked := 0
	do := tripper(func(r *http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		if r.URL.String() != "https://git.example/token" || r.PostFormValue("refresh_token") != "r1" || r.PostFormValue("client_id") != "me" || r.PostFormValue("resource") != "https://git.example/mcp" {
			t.Errorf("asked %s with %v", r.URL, r.PostForm)
		}
		return says(200, `{"access_token":"a2","token_type":"bearer","expires_in":3600,"refresh_token":"r2"}`), nil
	})
	s := server(resource.MCPOAuth{ClientID: "me", TokenURL: "https://git.example/token", AuthorizationURL: "https://git.example/authorize"})
	first := client(m, do)
	if _, err := first.save(t.Context(), "s1/user:u1", tokens{Access: "a1", Refresh: "r1", ExpiresAt: resource.At(start), URL: s.URL}, 0, true); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		node := client(m, do)
		for range 4 {
			wg.Go(func() {
				if got, err := node.Token(t.Context(), s, "user:u1"); err != nil || got.Reveal() != "a2" {
					t.Errorf("got %s, %v", got.Reveal(), err)
				}
			})
		}
	}
	wg.Wait()
	if asked != 1 {
		t.Errorf("the refresh token was used %d times", asked)
	}
	if _, err := first.Token(t.Context(), s, "user:u2"); !errors.Is(err, ErrNeeded) {
		t.Errorf("another person: got %v", err)
	}
	moved := server(*s.OAuth)
	moved.URL = "https://other.example/mcp"
	if _, err := first.Token(t.Context(), moved, "user:u1"); !errors.Is(err, ErrNeeded) {
		t.Errorf("a server that has moved: got %v", err)
	}
	m.fail = errors.New("no leader")
	if _, err := first.Token(t.Context(), s, "user:u1"); err == nil || errors.Is(err, ErrNeeded) {
		t.Errorf("a look-up that fails: got %v", err)
	}
}

func TestToken_refused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		status int
		body   string
		needed bool
		again  bool // another try may help
	}{
		{"the person has taken it back", 400, `{"error":"invalid_grant"}`, true, false},
		{"the server is ill", 503, `oops`, false, true},
		{"no token", 200, `{"token_type":"bearer"}`, false, true},
		{"another type", 200, `{"access_token":"a","token_type":"dpop"}`, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := &memory{tokens: map[string]*resource.MCPToken{}, at: map[string]uint64{}}
			c := client(m, func(*http.Request) (*http.Response, error) { return says(tt.status, tt.body), nil })
			s := server(resource.MCPOAuth{ClientID: "me", TokenURL: "https://git.example/token", AuthorizationURL: "https://git.example/authorize"})
			if _, err := c.save(t.Context(), "s1/admin", tokens{Access: "a1", Refresh: "r1", ExpiresAt: resource.At(start), URL: s.URL}, 0, true); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Token(t.Context(), s, "admin"); err == nil || errors.Is(err, ErrNeeded) != tt.needed {
				t.Errorf("got %v", err)
			}
			left, _, err := c.load(t.Context(), "s1/admin")
			if err != nil || (left.Refresh != "") != tt.again || left.Claim != 0 {
				t.Errorf("left %+v, %v", left, err)
			}
		})
	}
}

// TestFind_trust: what a server says makes no node ask a host that its record does not name.
func TestFind_trust(t *testing.T) {
	t.Parallel()
	const meta = `{"issuer":%q,"authorization_endpoint":"https://login.example/authorize","token_endpoint":%q,"code_challenge_methods_supported":["S256"]}`
	for _, tt := range []struct {
		name, says, token string
		o                 resource.MCPOAuth
		want              string // the token endpoint, or a part of the error
	}{
		{"its own host", "https://git.example", "https://git.example/token", resource.MCPOAuth{}, "https://git.example/token"},
		{"another host", "https://login.example", "https://login.example/token", resource.MCPOAuth{}, "does not name"},
		{"another host that is named", "https://login.example", "https://login.example/token", resource.MCPOAuth{Issuer: "https://login.example"}, "https://login.example/token"},
		{"tokens at another host", "https://git.example", "https://169.254.169.254/token", resource.MCPOAuth{}, ""},
		{"tokens at another host that is named", "https://git.example", "https://tokens.example/token", resource.MCPOAuth{TokenURL: "https://tokens.example/token"}, "https://tokens.example/token"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := client(&memory{}, func(r *http.Request) (*http.Response, error) {
				if h := r.URL.Host; h != "git.example" && h != "login.example" {
					t.Errorf("asked %s", r.URL)
				}
				if tt.o.Issuer == "" && r.URL.Host == "login.example" {
					t.Errorf("asked %s", r.URL)
				}
				switch r.URL.Path {
				case "/.well-known/oauth-protected-resource/mcp":
					return says(200, fmt.Sprintf(`{"resource":"https://git.example/mcp","authorization_servers":[%q]}`, tt.says)), nil
				case "/.well-known/oauth-authorization-server":
					return says(200, fmt.Sprintf(meta, tt.says, tt.token)), nil
				}
				return says(404, ""), nil
			})
			at, err := c.find(t.Context(), server(tt.o))
			if err != nil {
				if !strings.Contains(err.Error(), tt.want) || strings.HasPrefix(tt.want, "https") {
					t.Errorf("got %v, want %s", err, tt.want)
				}
				return
			}
			if at.token != tt.want {
				t.Errorf("got %s, want %s", at.token, tt.want)
			}
		})
	}
}

// TestEnd_refused: only the browser that began, in time, with its own state.
func TestEnd_refused(t *testing.T) {
	t.Parallel()
	m := &memory{tokens: map[string]*resource.MCPToken{}, at: map[string]uint64{}}
	now := start
	c := client(m, func(*http.Request) (*http.Response, error) {
		return says(200, `{"access_token":"a","token_type":"bearer"}`), nil
	})
	c.cfg.Now = func() time.Time { return now }
	s := server(resource.MCPOAuth{ClientID: "me", Issuer: "https://git.example", TokenURL: "https://git.example/token", AuthorizationURL: "https://git.example/authorize"})
	ticket, err := c.Ticket("s1", "user:u1", "ada")
	if err != nil {
		t.Fatal(err)
	}
	address, cookie, err := c.Begin(t.Context(), s, ticket, "https://gateway.example/mcp/oauth/callback")
	if err != nil {
		t.Fatal(err)
	}
	_, state, _ := strings.Cut(address, "state=")
	state, _, _ = strings.Cut(state, "&")
	good := Returned{State: state, Code: "c", Cookie: cookie}
	for name, r := range map[string]Returned{
		"another browser": {State: state, Code: "c", Cookie: "x"}, "no browser": {State: state, Code: "c"}, "a ticket": {State: ticket, Code: "c", Cookie: cookie},
		"no state": {Code: "c", Cookie: cookie}, "no code": {State: state, Cookie: cookie}, "refused": {State: state, Error: "access_denied", Cookie: cookie},
		"another issuer": {State: state, Code: "c", Cookie: cookie, Issuer: "https://evil.example"},
	} {
		if err := c.End(t.Context(), s, r); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
	if len(m.tokens) != 0 {
		t.Errorf("stored %v", m.tokens)
	}
	now = start.Add(stateLasts)
	if err := c.End(t.Context(), s, good); err == nil {
		t.Error("too late: it was taken")
	}
	now = start
	if err := c.End(t.Context(), s, good); err != nil || m.tokens["s1/user:u1"] == nil {
		t.Errorf("got %v, stored %v", err, m.tokens)
	}
}

func FuzzReadTokens(f *testing.F) {
	f.Add(200, []byte(`{"access_token":"a","token_type":"Bearer","expires_in":3600,"refresh_token":"r"}`))
	f.Add(200, []byte(`{"access_token":"a","token_type":"bearer","expires_in":1e400}`))
	f.Add(400, []byte(`{"error":"invalid_grant"}`))
	f.Fuzz(func(t *testing.T, status int, b []byte) {
		got, err := readTokens(status, b, start)
		if err == nil && (got.Access == "" || strings.ContainsAny(got.Access, "\r\n") || got.ExpiresAt != 0 && got.ExpiresAt < resource.At(start)) {
			t.Errorf("got %+v of %s", got, b)
		}
	})
}

func FuzzRead(f *testing.F) {
	c := client(&memory{}, nil)
	ticket, err := c.Ticket("s1", "user:u1", "ada")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ticket)
	f.Add("d.x")
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := c.read(text, isState); err == nil && n.What != isState {
			t.Errorf("got %+v", n)
		}
	})
}
