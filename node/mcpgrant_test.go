package node_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/conclave-llm/conclave/node/nodetest"
)

// guardedMCP is an MCP server that asks for OAuth, with its authorization server beside it.
type guardedMCP struct {
	t   *testing.T
	url string

	mu         sync.Mutex
	registered int
	codes      map[string]url.Values // by code: what the page was asked with
	valid      string                // access token
	refresh    string
	issued     int
	lifetime   int // of access tokens, in seconds
}

func newGuardedMCP(t *testing.T) *guardedMCP {
	g := &guardedMCP{t: t, codes: map[string]url.Values{}, lifetime: 3600}
	s := sdk.NewServer(&sdk.Implementation{Name: "guarded", Version: "1"}, nil)
	sdk.AddTool(s, &sdk.Tool{Name: "whoami"}, func(_ context.Context, r *sdk.CallToolRequest, _ struct{}) (*sdk.CallToolResult, any, error) {
		return said(r.Extra.Header.Get("Authorization"))
	})
	protocol := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return s }, &sdk.StreamableHTTPOptions{Stateless: true})
	mux := http.NewServeMux()
	mux.HandleFunc("/mcp", func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		ok := g.valid != "" && r.Header.Get("Authorization") == "Bearer "+g.valid
		g.mu.Unlock()
		if !ok {
			w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+g.url+`/meta"`)
			w.WriteHeader(401)
			return
		}
		protocol.ServeHTTP(w, r)
	})
	answer := func(path string, v func() any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v())
		})
	}
	answer("/meta", func() any {
		return fields{"resource": g.url + "/mcp", "authorization_servers": []string{g.url}, "scopes_supported": []string{"read"}}
	})
	answer("/.well-known/oauth-authorization-server", func() any {
		return fields{
			"issuer": g.url, "authorization_endpoint": g.url + "/authorize", "token_endpoint": g.url + "/token", "registration_endpoint": g.url + "/register",
			"code_challenge_methods_supported": []string{"S256"}, "authorization_response_iss_parameter_supported": true,
		}
	})
	mux.HandleFunc("/register", g.register)
	mux.HandleFunc("/authorize", g.authorize)
	mux.HandleFunc("/token", g.token)
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	g.url = srv.URL
	return g
}

func (g *guardedMCP) register(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Redirects []string `json:"redirect_uris"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || len(in.Redirects) != 1 {
		g.t.Errorf("registration: %v, %v", in, err)
	}
	g.mu.Lock()
	g.registered++
	g.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(201)
	_ = json.NewEncoder(w).Encode(fields{"client_id": "client-7", "client_secret": "client-canary", "redirect_uris": in.Redirects})
}

func (g *guardedMCP) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("code_challenge_method") != "S256" || q.Get("client_id") != "client-7" || q.Get("resource") != g.url+"/mcp" || q.Get("scope") != "read" {
		g.t.Errorf("the page is asked with %v", q)
	}
	g.mu.Lock()
	code := fmt.Sprintf("code-%d", len(g.codes))
	g.codes[code] = q
	g.mu.Unlock()
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {g.url}}.Encode(), http.StatusFound)
}

func (g *guardedMCP) token(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	refuse := func() {
		w.WriteHeader(400)
		_, _ = io.WriteString(w, `{"error":"invalid_grant"}`)
	}
	user, pass, _ := r.BasicAuth()
	switch r.PostFormValue("grant_type") {
	case "authorization_code":
		q, ok := g.codes[r.PostFormValue("code")]
		sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		if !ok || user != "client-7" || pass != "client-canary" || base64.RawURLEncoding.EncodeToString(sum[:]) != q.Get("code_challenge") || r.PostFormValue("redirect_uri") != q.Get("redirect_uri") {
			refuse()
			return
		}
		delete(g.codes, r.PostFormValue("code"))
	case "refresh_token":
		if g.refresh == "" || r.PostFormValue("refresh_token") != g.refresh {
			refuse()
			return
		}
	case "client_credentials":
		if user != "machine" || pass != "machine-canary" {
			refuse()
			return
		}
	}
	g.issued++
	g.valid, g.refresh = fmt.Sprintf("access-canary-%d", g.issued), fmt.Sprintf("refresh-canary-%d", g.issued)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(fields{"access_token": g.valid, "token_type": "Bearer", "expires_in": g.lifetime, "refresh_token": g.refresh, "scope": "read"})
}

// TestMCP_oauth: a person allows the gateway to act for him; any node then does, and refreshes.
func TestMCP_oauth(t *testing.T) {
	t.Parallel()
	g := newGuardedMCP(t)
	c := nodetest.Start(t, 3)
	defer func() {
		for line := range strings.SplitSeq(c.Log.String(), "\n") {
			if t.Failed() && strings.Contains(line, "MCP") {
				t.Log(line)
			}
		}
	}()
	do := func(method, path, key string, in any, want int) string {
		t.Helper()
		status, body := c.Nodes[0].Do(method, path, key, in)
		if status != want {
			t.Fatalf("%s %s: got %d %s", method, path, status, body)
		}
		return string(body)
	}
	do("POST", "/api/v1/mcp/servers", nodetest.MasterKey, fields{"name": "guarded", "url": g.url + "/mcp", "auth": "oauth2"}, 201)
	do("POST", "/api/v1/mcp/servers", nodetest.MasterKey, fields{"name": "machine", "url": g.url + "/mcp", "auth": "oauth2", "oauth": fields{"flow": "client_credentials", "client_id": "machine"}, "secrets": fields{"client_secret": "machine-canary"}}, 201)
	k := c.Key(0, fields{"name": "ada", "objects": fields{"mcp_servers": []string{"guarded"}}}).Secret
	machine := c.Key(0, fields{"name": "robot", "objects": fields{"mcp_servers": []string{"machine"}}}).Secret
	c.Sync(c.Nodes[0].Admin())
	call := func(i int, key, tool string) (string, error) {
		t.Helper()
		return callText(t, mcpSession(t, c.Nodes[i].URL+"/mcp", key, nil), tool, fields{})
	}
	if got, err := call(0, k, "guarded-whoami"); err == nil || !strings.Contains(err.Error(), "public_url") {
		t.Fatalf("without an address: got %q, %v", got, err)
	}
	do("PUT", "/api/v1/settings/public_url", nodetest.MasterKey, fields{"value": c.Nodes[1].URL}, 200)
	everywhere := func(path, want string) {
		t.Helper()
		c.Await(want+" on every node", func() bool {
			for _, n := range c.Nodes {
				if _, body := n.Do("GET", path, nodetest.MasterKey, nil); !strings.Contains(string(body), want) {
					return false
				}
			}
			return true
		})
	}
	everywhere("/api/v1/settings/public_url", c.Nodes[1].URL)
	link := func(i int) string {
		t.Helper()
		var err error
		c.Await("the need of a permission", func() bool { // the node may not have heard yet
			_, err = call(i, k, "guarded-whoami")
			return err != nil && strings.Contains(err.Error(), "needs your authorization")
		})
		_, rest, _ := strings.Cut(err.Error(), "Visit ")
		at, _, _ := strings.Cut(rest, " ")
		return at
	}
	browser := func() *http.Client {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		return &http.Client{Jar: jar}
	}
	visit := func(b *http.Client, at string) (page string) {
		t.Helper()
		resp, err := b.Get(at)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, _ := io.ReadAll(resp.Body)
		return string(text)
	}
	agree := func(b *http.Client, at string) (page string) {
		t.Helper()
		before, ticket, _ := strings.Cut(at, "?ticket=")
		resp, err := b.PostForm(before, url.Values{"ticket": {ticket}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, _ := io.ReadAll(resp.Body)
		return string(text)
	}

	at := link(0)
	if page := visit(browser(), at); !strings.Contains(page, "the key ada") || !strings.Contains(page, "<form") {
		t.Fatalf("got %s", page)
	}
	if page := visit(browser(), at[:len(at)-3]+"abc"); !strings.Contains(page, "did not work") {
		t.Errorf("another ticket: got %s", page)
	}
	t.Run("another browser", func(t *testing.T) {
		b := browser()
		var back string
		b.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
			if strings.Contains(r.URL.Path, "callback") {
				back = r.URL.String()
				return http.ErrUseLastResponse
			}
			return nil
		}
		if page := agree(b, at); back == "" {
			t.Fatalf("got %s", page)
		}
		if page := visit(browser(), back); !strings.Contains(page, "did not work") {
			t.Errorf("got %s", page)
		}
	})
	if page := agree(browser(), at); !strings.Contains(page, "Done") {
		t.Fatalf("got %s", page)
	}
	if g.registered != 1 {
		t.Errorf("registered %d times", g.registered)
	}
	for i := range c.Nodes {
		if got, err := call(i, k, "guarded-whoami"); err != nil || !strings.Contains(got, "Bearer access-canary-1") {
			t.Errorf("at node %d: got %q, %v", i, got, err)
		}
	}
	t.Run("status", func(t *testing.T) {
		body := do("GET", "/v1/mcp/user-credentials", k, nil, 200)
		if !strings.Contains(body, `"guarded"`) || !strings.Contains(body, `"has_credential":true`) || strings.Contains(body, "canary") {
			t.Errorf("got %s", body)
		}
	})
	t.Run("refresh", func(t *testing.T) {
		g.mu.Lock()
		g.lifetime = 30 // less than what is refreshed early
		g.mu.Unlock()
		for path, status := range map[string]int{"/v1/mcp/server/guarded/oauth-user-credential": 200, "/api/v1/mcp/grants/guarded": 204} {
			do("DELETE", path, k, nil, status)
			if page := agree(browser(), link(2)); !strings.Contains(page, "Done") {
				t.Fatalf("got %s", page)
			}
		}
		for i := range 6 {
			if got, err := call(i%3, k, "guarded-whoami"); err != nil || !strings.Contains(got, fmt.Sprintf("access-canary-%d", g.issued)) {
				t.Errorf("got %q, %v", got, err)
			}
		}
		if g.issued < 6 || g.registered != 1 {
			t.Errorf("%d tokens, %d registrations", g.issued, g.registered)
		}
	})
	t.Run("a refresh that is refused", func(t *testing.T) {
		g.mu.Lock()
		g.refresh = "another"
		g.mu.Unlock()
		link(1)
	})
	t.Run("a token that is refused", func(t *testing.T) {
		g.mu.Lock()
		g.lifetime = 3600
		g.mu.Unlock()
		if page := agree(browser(), link(1)); !strings.Contains(page, "Done") {
			t.Fatalf("got %s", page)
		}
		g.mu.Lock()
		g.valid = "revoked"
		g.mu.Unlock()
		link(0)
	})
	t.Run("the gateway's own", func(t *testing.T) {
		if got, err := call(0, machine, "machine-whoami"); err != nil || !strings.Contains(got, "Bearer access-canary-") {
			t.Errorf("got %q, %v", got, err)
		}
		g.mu.Lock()
		g.valid = "revoked"
		g.mu.Unlock()
		if got, err := call(0, machine, "machine-whoami"); err == nil {
			t.Errorf("a token that is refused: got %q", got)
		}
		if got, err := call(0, machine, "machine-whoami"); err != nil || !strings.Contains(got, "Bearer access-canary-") {
			t.Errorf("the one after: got %q, %v", got, err)
		}
	})
	t.Run("an authorization server that nobody named", func(t *testing.T) {
		h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "oauth-protected-resource") {
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprintf(w, `{"resource":"http://%s/mcp","authorization_servers":["%s"]}`, r.Host, g.url)
				return
			}
			w.WriteHeader(401)
		}))
		defer h.Close()
		do("POST", "/api/v1/mcp/servers", nodetest.MasterKey, fields{"name": "sly", "url": h.URL + "/mcp", "auth": "oauth2", "allow_all_keys": true}, 201)
		everywhere("/api/v1/mcp/servers", `"sly"`)
		_, err := call(0, nodetest.MasterKey, "sly-x")
		if err == nil {
			t.Fatal("it was called")
		}
		_, after, _ := strings.Cut(err.Error(), "Visit ")
		page, _, _ := strings.Cut(after, " ")
		if got := agree(browser(), page); !strings.Contains(got, "did not work") || g.registered != 1 {
			t.Errorf("got %s, %d registrations", got, g.registered)
		}
	})
	if log := c.Log.String(); strings.Contains(log, "canary") {
		t.Error("the log has a token or a secret")
	}
}
