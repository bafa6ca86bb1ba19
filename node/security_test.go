package node_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/mock"
	"github.com/conclave-llm/conclave/node"
	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/secret"
)

// raw sends bytes to the node's client port and returns the answer's status, 0 if the
// connection ended without one, where it redirects to, and its body.
func raw(t *testing.T, n *nodetest.Node, request string) (status int, location, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(n.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		return 0, "", ""
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "", ""
	}
	b, _ := io.ReadAll(io.LimitReader(res.Body, 1<<16)) // what came is enough
	_ = res.Body.Close()
	return res.StatusCode, res.Header.Get("Location"), string(b)
}

// guarded are routes that nobody may use without a credential.
var guarded = []string{
	"GET /api/v1/keys", "POST /api/v1/keys", "GET /api/v1/cluster", "POST /api/v1/cluster/join-tokens", "GET /api/v1/audit",
	"POST /key/generate", "GET /key/list", "POST /team/new", "POST /model/new", "GET /metrics", "GET /health",
	"GET /v1/models", "POST /v1/chat/completions", "POST /v1/embeddings",
}

// TestCredentials_hostile is about look-ups by what a stranger sends: nothing but the hash of
// the secret may reach the state, so nothing may fail, and nothing may match.
func TestCredentials_hostile(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 1)
	n := c.Nodes[0]
	k := c.Key(0, fields{"name": "k"})
	corpus := []string{
		"", " ", "null", "undefined", "sk-", "sk-1234", "' OR 1=1 --", `" OR ""="`, "'; DROP TABLE keys; --", "%", "*", "sk-*",
		"../../../etc/passwd", "${jndi:ldap://127.0.0.1/a}", "{{7*7}}", "%00", "\u00e9\u4e2d\U0001f600", strings.Repeat("A", 4096), strings.Repeat("A", 60<<10),
		"eyJhbGciOiJub25lIn0.eyJyb2xlIjoicHJveHlfYWRtaW4ifQ.", k.ID, k.Hash.String(), strings.ToUpper(k.Secret), k.Secret[:len(k.Secret)-1],
		k.Secret + "x", nodetest.MasterKey + " x", nodetest.MasterKey + "," + nodetest.MasterKey, "[object Object]", "true", "0", "-1", "1e309", "\tx",
	}
	r := mrand.New(mrand.NewPCG(1, 2))
	for range 300 {
		b := make([]byte, 1+r.IntN(200))
		for i := range b {
			b[i] = byte(0x20 + r.IntN(0xe0))
			if b[i] == 0x7f {
				b[i] = '!'
			}
		}
		corpus = append(corpus, string(b))
	}
	headers := []string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "X-Litellm-Api-Key", "Cookie", "Proxy-Authorization"}
	try := func(i int, v string) {
		route := strings.Fields(guarded[i%len(guarded)])
		for _, h := range headers {
			for _, prefix := range []string{"", "Bearer ", "Basic ", "bearer\t", "token="} {
				status, body := n.Do(route[0], route[1], "", "{}", h, prefix+v)
				if status != 401 && status != 400 && status != 431 {
					t.Errorf("%v with %s: %.60q: %d %.200s", route, h, prefix+v, status, body)
				}
				if h != "Authorization" {
					break
				}
			}
		}
		for _, p := range []string{"key", "api_key", "token", "access_token"} {
			path := route[1] + "?" + p + "=" + url.QueryEscape(v)
			if status, body := n.Do(route[0], path, "", "{}"); status != 401 && status != 400 && status != 431 {
				t.Errorf("%s %.80s: %d %.200s", route[0], path, status, body)
			}
		}
	}
	var wg sync.WaitGroup
	for worker := range 32 { // together, for unknown keys wait for one look at the leader's index
		wg.Go(func() {
			for i := worker; i < len(corpus); i += 32 {
				try(i, corpus[i])
			}
		})
	}
	wg.Wait()
	for _, line := range []string{
		"Authorization: Bearer sk-\x00", "Authorization: \x01\x02", "Authorization: Bearer " + k.Secret + "\x00", "Authorization : Bearer " + nodetest.MasterKey,
		"Authorization\x00: Bearer x", " Authorization: Bearer " + nodetest.MasterKey, "Authorization:\r\n Bearer x", "X-Api-Key: " + strings.Repeat("A", 1<<20),
	} {
		for _, route := range guarded {
			status, _, body := raw(t, n, route+" HTTP/1.1\r\nHost: x\r\n"+line+"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			if status != 400 && status != 401 && status != 431 && status != 0 {
				t.Errorf("%s with %.60q: %d %.200s", route, line, status, body)
			}
		}
	}
	if status, body := n.Chat(k.Secret); status != 200 {
		t.Errorf("the true key afterwards: %d %s", status, body)
	}
}

// TestRoutes_noWayAround is about a path or a host that the guard and the dispatch read in
// different ways.
func TestRoutes_noWayAround(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 1)
	n := c.Nodes[0]
	k := c.Key(0, fields{"name": "k"})
	before := len(keysOf(t, n))
	shapes := []string{
		"{}", "/{}", "//evil.example{}", "/.{}", "/x/..{}", "/health/liveliness/..{}", "/health/readiness/../..{}", "{}/", "{}/.", "{}//",
		"{};x=y", "{}%3f", "{}%00", "{}%20", "{}?x", "{}#x", "{}.json", "/v1/..{}", "/v1/%2e%2e{}", "/health/liveliness%2f..{}",
		"/health/liveliness;{}", "http://localhost{}", "http://127.0.0.1:1{}", "http://evil.example/health/liveliness#@localhost{}", "https://x:y@localhost{}",
		"/\\evil.example{}", "{encoded}", "{slashes}", "*", "localhost:80",
	}
	hosts := []string{
		"localhost", "evil.example", "evil.example/health/liveliness", "localhost/health/liveliness?", "a#@b", "127.0.0.1:4001", "[::1]", "", "x y", "a\tb", "../", "%2f",
	}
	extra := []string{
		"", "X-Original-URL: /health/liveliness\r\n", "X-Rewrite-URL: /health/liveliness\r\n", "X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\n",
		"X-Forwarded-Host: localhost\r\nX-Forwarded-Prefix: /health/liveliness\r\n", "Forwarded: for=127.0.0.1;host=localhost\r\n", "X-HTTP-Method-Override: GET\r\n",
		"Host: localhost\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", "X-Conclave-Min-Index: 0-1\r\n", "Connection: Authorization\r\n",
	}
	check := func(t *testing.T, request string, allowed ...int) {
		t.Helper()
		status, to, body := raw(t, n, request)
		if status/100 == 3 { // net/http's mux cleans paths so; the second request is judged as any
			if !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.HasPrefix(to, "/\\") {
				t.Errorf("%.120q is redirected to %q", request, to)
			}
			return
		}
		if status != 0 && !slices.Contains(allowed, status) {
			t.Errorf("%.160q: %d %.300s", request, status, body)
		}
	}
	for i, route := range guarded {
		method, path, _ := strings.Cut(route, " ")
		encoded := "/%" + fmt.Sprintf("%02x", path[1]) + path[2:]
		slashes := "/" + strings.ReplaceAll(path[1:], "/", "%2f")
		for j, shape := range shapes {
			target := strings.NewReplacer("{}", path, "{encoded}", encoded, "{slashes}", slashes).Replace(shape)
			host := hosts[(i+j)%len(hosts)]
			for _, x := range extra {
				check(t, method+" "+target+" HTTP/1.1\r\nHost: "+host+"\r\n"+x+"Connection: close\r\n\r\n", 400, 401, 403, 404, 405, 421, 501)
			}
		}
		for _, method := range []string{"HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "get", "G\x00T"} {
			check(t, method+" "+path+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 400, 401, 403, 404, 405, 501)
		}
		// The same with a key for inference: it opens no admin route under any spelling.
		if strings.HasPrefix(path, "/v1/") {
			continue
		}
		for _, shape := range shapes[:20] {
			target := strings.ReplaceAll(shape, "{}", path)
			check(t, method+" "+target+" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+k.Secret+"\r\nContent-Length: 2\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{}", 400, 401, 403, 404, 405, 415)
		}
	}
	if after := len(keysOf(t, n)); after != before {
		t.Errorf("%d keys, want %d: something was created", after, before)
	}
}

func keysOf(t *testing.T, n *nodetest.Node) []client.Key {
	t.Helper()
	all, err := n.Admin().Keys().All(t.Context(), client.Query{Limit: 500})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestRoles_noEscalation tries to become more by every field and every spelling of the routes
// that change keys, teams and users, and to touch what belongs to others.
func TestRoles_noEscalation(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	api := c.Nodes[0].Admin()
	teams := make([]client.Team, 2)
	keys := make([]client.Key, 2)
	for i := range teams {
		var err error
		if teams[i], err = api.Teams().Create(t.Context(), fields{"name": fmt.Sprint("team", i)}); err != nil {
			t.Fatal(err)
		}
		keys[i] = c.Key(0, fields{"name": fmt.Sprint("key", i), "team_id": teams[i].ID, "models": []string{"demo"}, "budgets": budgetOf(1e9), "limits": fields{"rpm": 100_000}})
	}
	viewer := c.Key(0, fields{"name": "viewer", "role": "proxy_admin_viewer"})
	before, _ := json.Marshal(keysOf(t, c.Nodes[0]))

	mine, other := keys[0], keys[1]
	changes := []fields{
		{"role": "proxy_admin"},
		{"user_role": "proxy_admin"},
		{"models": []string{"*"}},
		{"models": []string{}},
		{"routes": []string{}},
		{"allowed_routes": []string{"/*"}},
		{"budgets": []any{}},
		{"max_budget": 1e6},
		{"limits": fields{}},
		{"rpm_limit": nil},
		{"team_id": teams[1].ID},
		{"user_id": "someone"},
		{"expires_at": nil},
		{"blocked": false},
		{"spend": 0},
		{"key": mine.Secret, "metadata": fields{"role": "proxy_admin"}},
		{"permissions": fields{"*": true}},
		{"tags": []string{"x"}},
	}
	writes := []string{
		"POST /api/v1/keys", "PATCH /api/v1/keys/" + mine.ID, "PUT /api/v1/keys/" + mine.ID, "POST /api/v1/keys/" + mine.ID + "/rotate", "POST /api/v1/keys/" + other.ID + "/rotate",
		"PATCH /api/v1/keys/" + other.ID, "DELETE /api/v1/keys/" + other.ID, "POST /api/v1/keys/" + other.ID + "/block", "POST /api/v1/keys/" + mine.ID + "/unblock",
		"PATCH /api/v1/teams/" + teams[0].ID, "PATCH /api/v1/teams/" + teams[1].ID, "DELETE /api/v1/teams/" + teams[1].ID, "POST /api/v1/teams", "POST /api/v1/models", "DELETE /api/v1/models/demo",
		"POST /api/v1/credentials", "POST /api/v1/guardrails", "POST /api/v1/callbacks", "POST /api/v1/plugins", "POST /api/v1/settings", "POST /api/v1/cluster/transfer", "POST /api/v1/cluster/join-tokens",
		"POST /key/generate", "POST /key/update", "POST /key/delete", "POST /key/block", "POST /key/unblock", "POST /key/" + other.ID + "/regenerate", "POST /team/new", "POST /team/update",
		"POST /team/delete", "POST /team/member_add", "POST /user/new", "POST /user/update", "POST /config/update", "POST /model/new", "POST /model/delete",
	}
	r := mrand.New(mrand.NewPCG(3, 4))
	for name, who := range map[string]string{"inference": mine.Secret, "viewer": viewer.Secret} {
		for _, w := range writes {
			method, path, _ := strings.Cut(w, " ")
			for i := range 6 {
				body := fields{"name": fmt.Sprint("x", r.Int()), "key": mine.Secret, "keys": []string{other.Secret}, "team_id": teams[1].ID, "version": 1}
				if i%2 == 0 {
					body = fields{}
				}
				for range 1 + r.IntN(3) {
					maps.Copy(body, changes[r.IntN(len(changes))])
				}
				n := c.Nodes[r.IntN(3)]
				status, answer := n.Do(method, path, who, body, "If-Match", `"1"`)
				if status != 401 && status != 403 && status != 404 && status != 405 {
					t.Errorf("%s on %s: %s with %v: %d %.300s", name, n.Name, w, body, status, answer)
				}
			}
		}
	}
	after, _ := json.Marshal(keysOf(t, c.Nodes[0]))
	if !bytes.Equal(before, after) {
		t.Errorf("the keys have changed:\n%s\n%s", before, after)
	}

	// Its own it may read; another tenant's look as if they were not there.
	for _, own := range []string{"/api/v1/keys/" + mine.ID, "/api/v1/teams/" + teams[0].ID} {
		if status, body := c.Nodes[1].Do(http.MethodGet, own, mine.Secret, nil); status != 200 {
			t.Errorf("GET %s, its own: %d %s", own, status, body)
		}
	}
	for _, tt := range [][2]string{
		{"/api/v1/keys/" + other.ID, "/api/v1/keys/key_nosuch"},
		{"/api/v1/keys/" + other.Name, "/api/v1/keys/nosuch"},
		{"/api/v1/teams/" + teams[1].ID, "/api/v1/teams/team_nosuch"},
		{"/key/info?key=" + other.Secret, "/key/info?key=sk-nosuch"},
		{"/key/info?key=" + other.Hash.String(), "/key/info?key=" + strings.Repeat("0", 64)},
		{"/team/info?team_id=" + teams[1].ID, "/team/info?team_id=team_nosuch"},
		{"/api/v1/usage?kind=key&id=" + other.ID, "/api/v1/usage?kind=key&id=key_nosuch"},
	} {
		theirs, _ := c.Nodes[1].Do(http.MethodGet, tt[0], mine.Secret, nil)
		nobodys, _ := c.Nodes[1].Do(http.MethodGet, tt[1], mine.Secret, nil)
		if theirs != nobodys || theirs != 404 && theirs != 403 {
			t.Errorf("GET %s: %d for another's, %d for nobody's; want 404 or 403 for both", tt[0], theirs, nobodys)
		}
	}
}

// trap is a server that no request may reach.
type trap struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string
}

func newTrap(t *testing.T) *trap {
	tr := &trap{}
	tr.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		tr.seen = append(tr.seen, fmt.Sprint(r.Method, " ", r.URL, " ", r.Header))
		w.WriteHeader(http.StatusTeapot)
	}))
	t.Cleanup(tr.Close)
	return tr
}

func (tr *trap) visits() []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return slices.Clone(tr.seen)
}

// TestUpstream_onlyWhereConfigured is about making the gateway call another address, or send
// a provider's key there.
func TestUpstream_onlyWhereConfigured(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 1)
	n := c.Nodes[0]
	evil := newTrap(t)
	k := c.Key(0, fields{"name": "k"})
	for _, field := range []string{"api_base", "base_url", "api_key", "model_list", "custom_llm_provider", "deployment_url", "aws_sts_endpoint", "azure_ad_token", "user_config", "vertex_credentials", "langfuse_host", "s3_endpoint_url"} {
		value := fields{field: evil.URL}
		for where, more := range map[string]fields{
			"top": value, "metadata": {"metadata": value}, "litellm_params": {"litellm_params": value}, "extra_body": {"extra_body": value},
			"deep": {"metadata": fields{"a": []any{fields{"b": value}}}}, "fallbacks": {"fallbacks": []any{fields{"model": "demo", field: evil.URL}}},
		} {
			for _, path := range []string{"/v1/chat/completions", "/v1/completions", "/v1/embeddings"} {
				body := nodetest.ChatBody(more)
				body["prompt"], body["input"] = "x", "x"
				before := c.Mock.Usage().Requests
				status, answer := n.Do(http.MethodPost, path, k.Secret, body)
				nested := where != "top" && !strings.Contains("api_base base_url api_key", field) // some are harmless inside
				if status != 400 && !nested {
					t.Errorf("%s in %s of %s: %d %.200s, want 400", field, where, path, status, answer)
				}
				if status != 200 && c.Mock.Usage().Requests != before {
					t.Errorf("%s in %s of %s was refused after the upstream was asked", field, where, path)
				}
			}
		}
	}
	for _, text := range []string{
		`{"model":"demo","\u0061pi_base":"` + evil.URL + `","messages":[{"role":"user","content":"x"}]}`,
		`{"model":"demo","api_base":null,"API_BASE":"` + evil.URL + `","messages":[{"role":"user","content":"x"}]}`,
		`{"model":"` + evil.URL + `/x","messages":[{"role":"user","content":"x"}]}`,
	} {
		if status, answer := n.Do(http.MethodPost, "/v1/chat/completions", k.Secret, text); status == 200 {
			t.Errorf("%s: 200 %s", text, answer)
		}
	}
	image := []any{fields{"type": "text", "text": "x"}, fields{"type": "image_url", "image_url": fields{"url": evil.URL + "/image.png"}}}
	n.Do(http.MethodPost, "/v1/chat/completions", k.Secret, nodetest.ChatBody(fields{"messages": []any{fields{"role": "user", "content": image}}}))
	if got := evil.visits(); len(got) > 0 {
		t.Errorf("the gateway has called %s", got)
	}
}

func TestUpstream_redirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 1)
	n := c.Nodes[0]
	evil := newTrap(t)
	k := c.Key(0, fields{"name": "k"})
	for _, status := range []int{301, 302, 303, 307, 308} {
		redirector := httptest.NewServer(http.RedirectHandler(evil.URL+"/take", status))
		defer redirector.Close()
		name := fmt.Sprint("redirect-", status)
		c.Model(name, redirector.URL)
		for _, stream := range []bool{false, true} {
			got, body := n.Do(http.MethodPost, "/v1/chat/completions", k.Secret, nodetest.ChatBody(fields{"model": name, "stream": stream}))
			if got < 400 {
				t.Errorf("an upstream that redirects by %d: %d %.200s", status, got, body)
			}
		}
	}
	if got := evil.visits(); len(got) > 0 {
		t.Errorf("the gateway has followed to %s", got)
	}
}

// TestUpstream_keyStaysWithItsHost is about an admin who may not read a provider's key but
// points its deployment elsewhere to receive it.
func TestUpstream_keyStaysWithItsHost(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 1)
	n := c.Nodes[0]
	evil := newTrap(t)
	k := c.Key(0, fields{"name": "k"})
	api := n.Admin()
	m, err := api.Models().One(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	status, body := n.Do(http.MethodPatch, "/api/v1/deployments/"+m.Deployments[0].ID, nodetest.MasterKey, fields{"api_base": evil.URL, "version": m.Deployments[0].Version}, "Content-Type", "application/merge-patch+json")
	t.Logf("the patch: %d %.200s", status, body)
	n.Chat(k.Secret)
	for _, seen := range evil.visits() {
		if strings.Contains(seen, nodetest.UpstreamKey) {
			t.Errorf("the stored key went to %s", seen)
		}
	}
}

// TestSecrets_neverWritten looks for secrets wherever a node leaves traces.
func TestSecrets_neverWritten(t *testing.T) {
	t.Parallel()
	const prompt, keySecret, wrong = "prompt-canary-8f2e71", "sk-virtual-canary-77aa01", "sk-wrong-canary-55bb02"
	c := nodetest.Config{Mock: mock.Config{Chunks: 4}}.Start(t, 3)
	k := c.Key(0, fields{"name": "k", "secret": keySecret})
	api := c.Nodes[1].Admin()
	canaries := map[string]string{
		"prompt": prompt, "virtual key": keySecret, "wrong key": wrong, "master key": nodetest.MasterKey, "provider key": nodetest.UpstreamKey,
		"credential": "sk-credential-canary-9c", "rotated key": "sk-rotated-canary-33dd", "header": "header-canary-11ee",
	}
	var answers bytes.Buffer
	ask := func(n *nodetest.Node, method, path, key string, body any) {
		status, answer := n.Do(method, path, key, body, "X-Custom", canaries["header"])
		fmt.Fprintf(&answers, "%s %s %d %s\n", method, path, status, answer)
	}
	messages := []any{fields{"role": "user", "content": prompt}}
	for _, status := range []int{400, 401, 403, 404, 429, 500, 503} { // providers that tell the key in their errors
		echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"error":{"message":"Incorrect API key provided: %s","type":"x","code":"invalid_api_key"}}`, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		}))
		defer echo.Close()
		name := fmt.Sprint("echo-", status)
		c.Model(name, echo.URL)
		ask(c.Nodes[0], http.MethodPost, "/v1/chat/completions", k.Secret, nodetest.ChatBody(fields{"model": name, "messages": messages}))
	}
	if _, err := api.Credentials().Create(t.Context(), fields{"name": "cred", "provider": "openai", "api_key": canaries["credential"]}); err != nil {
		t.Fatal(err)
	}
	old := c.Key(0, fields{"name": "old"})
	if _, err := api.RotateKey(t.Context(), old.ID, client.Rotate{Secret: canaries["rotated key"]}); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes {
		for _, more := range []fields{{}, {"stream": true}, {"n": 2}, {"model": "nosuch"}, {"api_base": "http://x"}} {
			body := nodetest.ChatBody(more)
			body["messages"] = messages
			status, _ := n.Do(http.MethodPost, "/v1/chat/completions", k.Secret, body)
			if len(more) == 0 && status != 200 {
				t.Errorf("chat: %d", status)
			}
			ask(n, http.MethodPost, "/v1/chat/completions", wrong, body)
		}
		ask(n, http.MethodPost, "/v1/chat/completions", k.Secret, `{"model":"demo","messages":[`+prompt)
		ask(n, http.MethodPost, "/api/v1/keys", nodetest.MasterKey, fields{"name": "bad", "secret": keySecret, "nosuch": wrong})
		ask(n, http.MethodPost, "/key/generate", k.Secret, fields{"key": keySecret})
		for _, path := range []string{"/api/v1/keys", "/api/v1/keys/" + k.ID, "/api/v1/models/demo", "/api/v1/deployments", "/api/v1/credentials", "/api/v1/audit", "/api/v1/cluster", "/health", "/metrics", "/key/list", "/model/info"} {
			ask(n, http.MethodGet, path, nodetest.MasterKey, nil)
		}
	}
	if err := api.Keys().Delete(t.Context(), k.ID); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes {
		n.Stop()
	}
	for what, canary := range canaries {
		if i := strings.Index(c.Log.String(), canary); i >= 0 {
			t.Errorf("the log has the %s: …%s", what, c.Log.String()[max(0, i-300):i+len(canary)])
		}
		if i := strings.Index(answers.String(), canary); i >= 0 {
			t.Errorf("an answer has the %s: …%s", what, answers.String()[max(0, i-300):i+len(canary)])
		}
	}
	for _, n := range c.Nodes {
		scan(t, n.Dir, canaries)
	}
}

// scan looks into every file of a data folder, and at its mode.
func scan(t *testing.T, dir string, canaries map[string]string) {
	t.Helper()
	files := 0
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 && (path == dir || info.Mode().IsRegular() && !strings.Contains(path, "snapshots")) { // Raft's snapshots are guarded by the folder alone
			t.Errorf("%s has mode %v", path, info.Mode().Perm())
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		files++
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for what, canary := range canaries {
			if bytes.Contains(b, []byte(canary)) {
				t.Errorf("%s has the %s", path, what)
			}
		}
		return nil
	})
	if err != nil || files < 5 {
		t.Errorf("%d files looked at: %v", files, err)
	}
}

// TestPorts_strangers is about whoever can reach the ports but is no member.
func TestPorts_strangers(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	k := c.Key(0, fields{"name": "k"})
	victim := c.Leader()
	term := victim.Leader()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	forged := &x509.Certificate{ // names a true member, signed by nobody
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: victim.ID()}, DNSNames: []string{victim.ID()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		URIs: []*url.URL{{Scheme: "conclave", Host: "x", Path: "/" + victim.ID()}},
	}
	der, err := x509.CreateCertificate(rand.Reader, forged, forged, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certs := map[string][]tls.Certificate{"no certificate": nil, "a forged certificate": {{Certificate: [][]byte{der}, PrivateKey: key}}}
	for what, chain := range certs {
		for _, proto := range []string{"raft/1", "rpc/1", "snap/1", "quota/1", "gossip/1", "join/1", "nosuch/1", ""} {
			cfg := &tls.Config{InsecureSkipVerify: true, Certificates: chain}
			if proto != "" {
				cfg.NextProtos = []string{proto}
			}
			conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", victim.Address, cfg)
			if err != nil {
				continue
			}
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			_, _ = conn.Write(bytes.Repeat([]byte{0, 0, 0, 8, 1, 2, 3, 4}, 100)) // it may have been cut already
			got, err := io.ReadAll(io.LimitReader(conn, 1<<16))
			if ne, ok := err.(net.Error); ok && ne.Timeout() && proto != "join/1" { //nolint:errorlint // from the socket
				t.Errorf("%s with %s: the connection is kept", proto, what)
			}
			if proto != "join/1" && len(got) > 0 {
				t.Errorf("%s with %s: got %d bytes: %.100q", proto, what, len(got), got)
			}
			_ = conn.Close()
		}
	}
	r := mrand.New(mrand.NewPCG(5, 6))
	udp, err := net.Dial("udp", victim.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = udp.Close() }()
	for i := range 300 {
		b := make([]byte, r.IntN(1400))
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		_, _ = udp.Write(b) // nobody answers
		if i%10 > 0 {
			continue
		}
		for _, addr := range []string{victim.Address, strings.TrimPrefix(victim.URL, "http://")} {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = conn.Write(b) // it may be cut
			_ = conn.Close()
		}
	}
	if got := victim.Leader(); got != term {
		t.Errorf("the leader is %s, was %s", got, term)
	}
	if got := members(t, victim); len(got) != 3 {
		t.Errorf("got %d members, want 3", len(got))
	}
	for _, n := range c.Nodes {
		if status, body := n.Chat(k.Secret); status != 200 {
			t.Errorf("chat through %s: %d %s", n.Name, status, body)
		}
	}
	if _, err := victim.Admin().Keys().Create(t.Context(), fields{"name": "after"}); err != nil {
		t.Errorf("a write afterwards: %v", err)
	}
}

func TestPorts_joinTokenIsForOne(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 1)
	token, err := c.Nodes[0].Admin().JoinToken(t.Context(), "5m", client.Do)
	if err != nil {
		t.Fatal(err)
	}
	join := func() error {
		n, err := node.Start(t.Context(), node.Config{
			Name: "joiner", DataDir: t.TempDir(), Listen: "127.0.0.1:0", Cluster: nodetest.FreeAddr(t), MasterKey: secret.New(nodetest.MasterKey),
			Join: c.Nodes[0].Address, Token: token.Token, Fatal: func(error) {},
		})
		if err == nil {
			t.Cleanup(func() { _ = n.Stop(t.Context()) }) //nolint:usetesting // it stops without time
		}
		return err
	}
	if err := join(); err != nil {
		t.Fatal(err)
	}
	if err := join(); err == nil {
		t.Error("a token was good for two nodes")
	}
}
