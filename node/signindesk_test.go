package node_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/node"
	"github.com/conclave-llm/conclave/node/nodetest"
)

// gitHub is a stand-in of GitHub's sign-in, of its exchange of tokens and of Copilot. Each code is a number.
type gitHub struct {
	mu      sync.Mutex
	codes   int
	entered map[string]bool // by code
	asked   []string        // URLs
}

func (g *gitHub) enter(code string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.entered[code] = true
}

func (g *gitHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var in map[string]any
	_ = json.Unmarshal(body, &in)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = append(g.asked, r.URL.String())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Connection", "close") // each question is dialled for
	switch r.URL.Path {
	case "/login/device/code":
		g.codes++
		_, _ = fmt.Fprintf(w, `{"device_code":"dev-%d","user_code":"%d","verification_uri":"https://github.com/login/device","expires_in":900,"interval":1}`, g.codes, g.codes)
	case "/login/oauth/access_token":
		code := strings.TrimPrefix(fmt.Sprint(in["device_code"]), "dev-")
		if !g.entered[code] {
			_, _ = io.WriteString(w, `{"error":"authorization_pending"}`)
			return
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"gho_%s","token_type":"bearer"}`, code)
	case "/copilot_internal/v2/token":
		_, _ = fmt.Fprintf(w, `{"token":"tid of %s","expires_at":4000000000,"refresh_in":1500}`, strings.TrimPrefix(r.Header.Get("Authorization"), "token "))
	default:
		_, _ = fmt.Fprintf(w, `{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`, r.Header.Get("Authorization"))
	}
}

func newGitHub(t *testing.T) (*gitHub, string) {
	g := &gitHub{entered: map[string]bool{}}
	up := httptest.NewServer(g)
	t.Cleanup(up.Close)
	return g, up.URL
}

// TestSignIn: a node asks GitHub, every node tells of it, and all of them use what it gave. A node that restarts has
// lost its sign-ins, and says so.
func TestSignIn(t *testing.T) {
	t.Parallel()
	g, up := newGitHub(t)
	c := nodetest.Start(t, 3)
	a, b := c.Nodes[0].Admin(), c.Nodes[1].Admin()
	begin := client.BeginSignIn{Credential: "mine", Options: map[string]string{"github_url": up, "github_api_url": up}}
	s, err := a.BeginSignIn(t.Context(), "github_copilot", begin)
	if err != nil || s.Node != "n1" || s.VerificationURL != "https://github.com/login/device" {
		t.Fatalf("got %+v, %v", s, err)
	}
	if seen, err := b.SignIn(t.Context(), s.ID); err != nil || seen != s {
		t.Errorf("another node tells %+v, %v, want %+v", seen, err, s)
	}
	g.enter(s.UserCode)
	c.Await("the sign-in to be done", func() bool {
		s, err = b.SignIn(t.Context(), s.ID)
		return err == nil && s.State == client.SignInDone
	})
	if _, err := a.Models().Create(t.Context(), fields{"name": "copilot", "deployments": []any{fields{
		"name": "d", "provider": "github_copilot", "credential_id": "mine", "api_base": up, "model": "gpt-4.1",
	}}}); err != nil {
		t.Fatal(err)
	}
	c.Sync(a)
	for _, n := range c.Nodes {
		if _, body := n.Do("POST", "/v1/chat/completions", nodetest.MasterKey, nodetest.Fields{"model": "copilot", "messages": []any{fields{"role": "user", "content": "hi"}}}); !strings.Contains(string(body), "tid of gho_1") {
			t.Errorf("%s answers %s", n.Name, body)
		}
	}

	rotate(t, c, c.Nodes[0], "dek", "done")
	if _, text := c.Nodes[0].Do("GET", "/api/v1/credentials/mine", nodetest.MasterKey, nil); strings.Contains(string(text), "gho_") || !strings.Contains(string(text), "fingerprint") {
		t.Errorf("shown as %s", text)
	}
	file := fields{"credentials": []any{fields{"record": fields{"name": "mine", "provider": "github_copilot", "options": begin.Options}}}}
	if plan, err := a.PlanConfig(t.Context(), file, client.ConfigOptions{}); err != nil || len(plan.Changes) != 0 {
		t.Errorf("a file without the token, after the data key was exchanged: %+v, %v", plan, err)
	}

	lost, err := b.BeginSignIn(t.Context(), "github_copilot", client.BeginSignIn{Credential: "mine"})
	if err != nil || lost.Node != "n2" {
		t.Fatalf("got %+v, %v", lost, err)
	}
	c.Nodes[1].Stop()
	if _, err := a.SignIn(t.Context(), lost.ID); problemStatus(err) != 503 {
		t.Errorf("while its node is away: %v", err)
	}
	c.Nodes[1].Start()
	if _, err := a.SignIn(t.Context(), lost.ID); problemStatus(err) != 404 || !strings.Contains(err.Error(), "has restarted") {
		t.Errorf("after its node restarted: %v", err)
	}
	g.enter(lost.UserCode)
	cancelled, err := a.BeginSignIn(t.Context(), "github_copilot", client.BeginSignIn{Credential: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := c.Nodes[2].Admin().CancelSignIn(t.Context(), cancelled.ID); err != nil || s.State != client.SignInCancelled {
		t.Errorf("cancelled %+v, %v", s, err)
	}
	if _, err := a.SignIn(t.Context(), "signin_x.node_gone"); problemStatus(err) != 404 {
		t.Errorf("of a node that there is not: %v", err)
	}
}

func problemStatus(err error) int {
	if p, ok := errors.AsType[*client.Problem](err); ok {
		return p.Status
	}
	return 0
}

// TestSignIn_Sealed: a sealed node asks nobody who is not named.
func TestSignIn_Sealed(t *testing.T) {
	t.Parallel()
	g, up := newGitHub(t)
	c := nodetest.Config{Edit: func(_ int, cfg *node.Config) { cfg.Sealed = true }}.Start(t, 1)
	api := c.Nodes[0].Admin()
	begin := client.BeginSignIn{Credential: "mine", Options: map[string]string{"github_url": up}}
	if _, err := api.BeginSignIn(t.Context(), "github_copilot", begin); problemStatus(err) != 409 || !strings.Contains(err.Error(), "egress_allow") {
		t.Errorf("got %v", err)
	}
	if len(g.asked) != 0 {
		t.Errorf("asked %q", g.asked)
	}
	if status, body := c.Nodes[0].Do("PUT", "/api/v1/settings/egress_allow", nodetest.MasterKey, fields{"value": []any{strings.TrimPrefix(up, "http://")}}); status >= 300 {
		t.Fatalf("%d %s", status, body)
	}
	s, err := api.BeginSignIn(t.Context(), "github_copilot", begin)
	if err != nil {
		t.Fatal(err)
	}
	if status, body := c.Nodes[0].Do("DELETE", "/api/v1/settings/egress_allow", nodetest.MasterKey, nil); status >= 300 {
		t.Fatalf("%d %s", status, body)
	}
	g.enter(s.UserCode)
	c.Await("the sign-in to end", func() bool {
		s, err = api.SignIn(t.Context(), s.ID)
		return err == nil && s.State != client.SignInPending
	})
	if s.State != client.SignInFailed || !strings.Contains(s.Error, "sealed mode refuses") {
		t.Errorf("got %+v", s)
	}
}

// TestSignIn_Proxy: a sign-in goes through the proxy of its credential.
func TestSignIn_Proxy(t *testing.T) {
	t.Parallel()
	g, proxy := newGitHub(t)
	c := nodetest.Start(t, 1)
	if status, body := c.Nodes[0].Do("POST", "/api/v1/credentials", nodetest.MasterKey, fields{
		"name": "mine", "provider": "github_copilot", "options": fields{"github_url": "http://github.invalid"}, "proxy": fields{"url": proxy},
	}); status != 201 {
		t.Fatalf("%d %s", status, body)
	}
	s, err := c.Nodes[0].Admin().BeginSignIn(t.Context(), "github_copilot", client.BeginSignIn{Credential: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	g.enter(s.UserCode)
	c.Await("the sign-in to be done", func() bool {
		s, err = c.Nodes[0].Admin().SignIn(t.Context(), s.ID)
		return err == nil && s.State == client.SignInDone
	})
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.asked) < 2 || g.asked[0] != "http://github.invalid/login/device/code" {
		t.Errorf("the proxy was asked for %q", g.asked)
	}
}
