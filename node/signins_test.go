package node_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node"
	"github.com/conclave-llm/conclave/node/nodetest"
)

// chatGPT is a stand-in of ChatGPT's back end and of what renews its tokens, each of which it takes once.
type chatGPT struct {
	mu    sync.Mutex
	given int // refresh tokens that were used; the next is "rt-given"
	twice int // uses of one that had been used
}

// token is an access token that names how many were given, and ends after a while.
func token(no int, life time.Duration) string {
	claims := fmt.Sprintf(`{"exp":%d,"no":%d,"https://api.openai.com/auth":{"chatgpt_account_id":"acc"}}`, time.Now().Add(life).Unix(), no)
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func (g *chatGPT) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.URL.Path == "/oauth/token" {
		g.renew(w, body)
		return
	}
	var claims struct{ No int }
	parts := strings.Split(r.Header.Get("Authorization"), ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[min(1, len(parts)-1)])
	if err != nil || json.Unmarshal(raw, &claims) != nil || r.Header.Get("Chatgpt-Account-Id") != "acc" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = fmt.Fprintf(w, "data: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"status\":\"completed\",\"output\":[{\"type\":\"message\",\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"token %d\"}]}],\"usage\":{\"input_tokens\":1,\"output_tokens\":2,\"total_tokens\":3}}}\n\n", claims.No)
}

func (g *chatGPT) renew(w http.ResponseWriter, body []byte) {
	var asked map[string]string
	_ = json.Unmarshal(body, &asked)
	g.mu.Lock()
	defer g.mu.Unlock()
	if asked["grant_type"] != "refresh_token" || asked["client_id"] == "" || asked["refresh_token"] != fmt.Sprintf("rt-%d", g.given) {
		g.twice++
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":{"code":"refresh_token_reused","message":"no"}}`)
		return
	}
	g.given++
	_, _ = fmt.Fprintf(w, `{"access_token":%q,"refresh_token":"rt-%d","id_token":"i"}`, token(g.given, 240*time.Hour), g.given)
}

// TestSignIns: of three nodes one renews the tokens of a sign-in that end soon; all nodes ask with what it got, which
// outlives it.
func TestSignIns(t *testing.T) {
	t.Parallel()
	g := new(chatGPT)
	up := httptest.NewServer(g)
	t.Cleanup(up.Close)
	c := nodetest.Config{Edit: func(_ int, cfg *node.Config) {
		cfg.SignIn.Every = 20 * time.Millisecond
	}}.Start(t, 3)
	n := c.Nodes[0]
	auth := fmt.Sprintf(`{"tokens":{"id_token":"i","access_token":%q,"refresh_token":"rt-0","account_id":"acc"},"last_refresh":"2026-01-01T00:00:00Z"}`, token(0, time.Hour))
	if status, body := n.Do("POST", "/api/v1/models", nodetest.MasterKey, fields{"name": "codex", "deployments": []any{fields{
		"name": "d", "provider": "chatgpt", "api_base": up.URL, "model": "gpt-6-sol", "secrets": fields{"chatgpt_auth": auth},
		"options": fields{"chatgpt_auth_url": up.URL},
	}}}); status != 201 {
		t.Fatalf("%d %s", status, body)
	}
	ask := func(n *nodetest.Node) string {
		_, body := n.Do("POST", "/v1/chat/completions", nodetest.MasterKey, fields{"model": "codex", "messages": []any{fields{"role": "user", "content": "hi"}}})
		return string(body)
	}
	c.Await("all nodes to ask with the token that was given", func() bool {
		for _, n := range c.Nodes {
			if !strings.Contains(ask(n), "token 1") {
				return false
			}
		}
		return true
	})
	g.mu.Lock()
	given, twice := g.given, g.twice
	g.mu.Unlock()
	if given != 1 || twice != 0 {
		t.Errorf("renewed %d times, and %d with a token that was used", given, twice)
	}
	if _, body := n.Do("GET", "/api/v1/models/codex", nodetest.MasterKey, nil); strings.Contains(string(body), "rt-1") || !strings.Contains(string(body), "fingerprint") {
		t.Errorf("shown as %s", body)
	}
}
