package node_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/declare"
	"github.com/conclave-llm/conclave/node"
	"github.com/conclave-llm/conclave/node/nodetest"
)

// kvStore answers as Vault's KV engine of version 2 does, to the token s.good.
type kvStore struct {
	*httptest.Server
	mu     sync.Mutex // guards what follows
	sealed bool
	data   map[string]string // "path#field" → value
}

func newKVStore(t *testing.T) *kvStore {
	t.Helper()
	s := &kvStore{data: map[string]string{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.Header.Get("X-Vault-Token") == "s.good" && !s.sealed && s.wrote(r) {
			_, _ = io.WriteString(w, `{"data":{"version":1,"created_time":"2026-01-01T00:00:00Z"}}`)
			return
		}
		fields := map[string]string{}
		for at, v := range s.data {
			if path, field, _ := strings.Cut(at, "#"); r.URL.Path == "/v1/secret/data/"+path {
				fields[field] = v
			}
		}
		switch {
		case s.sealed:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.Header.Get("X-Vault-Token") != "s.good":
			w.WriteHeader(http.StatusForbidden)
		case len(fields) == 0:
			w.WriteHeader(http.StatusNotFound)
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"data": fields, "metadata": map[string]any{"version": 1, "created_time": "2026-01-01T00:00:00Z"}}})
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// wrote writes or deletes a secret, if the request says so.
func (s *kvStore) wrote(r *http.Request) bool {
	if path, ok := strings.CutPrefix(r.URL.Path, "/v1/secret/metadata/"); ok && r.Method == http.MethodDelete {
		maps.DeleteFunc(s.data, func(at, _ string) bool { return strings.HasPrefix(at, path+"#") })
		return true
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/secret/data/")
	var body struct{ Data map[string]string }
	if !ok || r.Method == http.MethodGet || json.NewDecoder(r.Body).Decode(&body) != nil {
		return false
	}
	for field, v := range body.Data {
		s.data[path+"#"+field] = v
	}
	return true
}

func (s *kvStore) get(at string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data[at]
}

func (s *kvStore) set(at, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data[at] = value
}

func (s *kvStore) seal(sealed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed = sealed
}

// TestSecretSource_FileAtStart has the file that a node applies at its own start leave out a key whose secret is kept in a
// store: it is taken out there.
func TestSecretSource_FileAtStart(t *testing.T) {
	store := newKVStore(t)
	file := &declare.File{} // that the node applies at each start
	c := nodetest.Config{Edit: func(i int, cfg *node.Config) { quick(i, cfg); cfg.Resources = file }}.Start(t, 1)
	n := c.Nodes[0]
	if status, body := n.Do("POST", "/api/v1/secret_sources", nodetest.MasterKey, nodetest.Fields{
		"name": "vault", "plugin": "vault", "access_mode": "read_and_write", "store_virtual_keys": true, "prefix_for_stored_virtual_keys": "keys/",
		"config": nodetest.Fields{"address": store.URL, "mount": "secret", "kv": 2}, "secrets": nodetest.Fields{"token": "s.good"},
	}); status != 201 {
		t.Fatalf("create secret source: %d %s", status, body)
	}
	for _, name := range []string{"goes", "stays"} {
		c.Await("the key "+name+" is made and kept", func() bool { // the source's process starts
			status, _ := n.Do("POST", "/api/v1/keys", nodetest.MasterKey, nodetest.Fields{"name": name})
			return status == 201
		})
	}
	_, exported := n.Do("GET", "/api/v1/config/export?format=json", nodetest.MasterKey, nil)
	var export struct{ File declare.File }
	if err := json.Unmarshal(exported, &export); err != nil {
		t.Fatalf("%v: %s", err, exported)
	}
	if status, body := n.Do("POST", "/api/v1/config/apply?take_over=true", nodetest.MasterKey, export.File); status != 200 {
		t.Fatalf("the file takes the records over: %d %s", status, body)
	}
	if store.get("keys/goes#key") == "" || store.get("keys/stays#key") == "" {
		t.Fatal("the secrets are not in the store")
	}
	export.File.Keys = slices.DeleteFunc(export.File.Keys, func(k declare.Key) bool { return k.Record.Name == "goes" })
	*file = export.File
	n.Stop()
	n.Start()
	n.AwaitReady()
	c.Await("the secret of the key that the file leaves out is gone", func() bool { return store.get("keys/goes#key") == "" })
	if store.get("keys/stays#key") == "" {
		t.Error("the other key's secret is gone, too")
	}
}

// TestSecretSource keeps a provider's key and a guardrail's word in a store: every node reads them,
// follows a rotation, goes on without the store, and starts without it.
func TestSecretSource(t *testing.T) {
	store := newKVStore(t)
	store.set("openai#key", "sk-first")
	store.set("words#bad", "xyzzy")
	var mu sync.Mutex // guards seen
	seen := ""
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = r.Header.Get("Authorization")
		mu.Unlock()
		_, _ = io.WriteString(w, `{"id":"x","object":"chat.completion","model":"demo","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`)
	}))
	t.Cleanup(upstream.Close)
	c := nodetest.Config{Edit: quick}.Start(t, 3)
	api := c.Nodes[0].Admin()
	if _, err := api.Models().Create(t.Context(), nodetest.Fields{"name": "m", "deployments": []nodetest.Fields{{
		"name": "d", "provider": "openai", "model": "demo", "api_base": upstream.URL, "api_key": "vault://secret/openai#key",
	}}}); err != nil {
		t.Fatal(err)
	}
	key := c.Key(0, nodetest.Fields{"name": "k"}).Secret
	ask := func(n *nodetest.Node, text string) (status int, body string) {
		status, raw := n.Do("POST", "/v1/chat/completions", key, nodetest.Fields{"model": "m", "messages": []nodetest.Fields{{"role": "user", "content": text}}})
		return status, string(raw)
	}
	unresolved := func(n *nodetest.Node) bool {
		status, body := ask(n, "hello")
		return status == 503 && strings.Contains(body, `"secret_unresolved"`)
	}
	uses := func(n *nodetest.Node, value string) bool {
		status, _ := ask(n, "hello")
		mu.Lock()
		defer mu.Unlock()
		return status == 200 && seen == "Bearer "+value
	}
	if !unresolved(c.Nodes[1]) {
		status, body := ask(c.Nodes[1], "hello")
		t.Errorf("without the source: got %d %s, want 503 secret_unresolved", status, body)
	}
	if _, err := api.SecretSources().Create(t.Context(), nodetest.Fields{
		"name": "vault", "plugin": "vault", "config": nodetest.Fields{"address": store.URL, "kv": 2}, "secrets": nodetest.Fields{"token": "s.good"}, "refresh_seconds": 1,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Guardrails().Create(t.Context(), nodetest.Fields{
		"name": "words", "plugin": "keywords", "hooks": []string{"before"}, "config": nodetest.Fields{"words": []string{"vault://secret/words#bad"}},
	}); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes {
		c.Await("the secrets on "+n.Name, func() bool {
			status, _ := ask(n, "say xyzzy")
			return uses(n, "sk-first") && status == 400
		})
	}
	tested, err := api.TestSecret(t.Context(), "vault://secret/openai#key")
	if err != nil || len(tested.Items) != 3 {
		t.Fatalf("got %+v, %v", tested, err)
	}
	for _, r := range tested.Items {
		if !r.OK || r.Fingerprint == "" || r.Fingerprint != tested.Items[0].Fingerprint {
			t.Errorf("got %+v, want the same fingerprint on each node", r)
		}
	}
	if tested, err := api.TestSecret(t.Context(), "vault://secret/nothing#key"); err != nil || tested.Items[2].OK || tested.Items[2].Reason != "not_found" || tested.Items[2].Code != "secret_unresolved" {
		t.Errorf("a secret that there is not: got %+v, %v", tested, err)
	}
	for _, ref := range []string{"env://CONCLAVE_TEST_NOT_SET", "file:///nowhere/key"} {
		if tested, err := api.TestSecret(t.Context(), ref); err != nil || tested.Items[0].OK || tested.Items[0].Reason != "not_found" {
			t.Errorf("%s: got %+v, %v", ref, tested, err)
		}
		if _, err := api.Models().Create(t.Context(), nodetest.Fields{"name": "of-" + ref[:3], "deployments": []nodetest.Fields{{
			"name": "d", "provider": "openai", "model": "demo", "api_base": upstream.URL, "api_key": ref,
		}}}); err != nil {
			t.Fatal(err)
		}
		status, body := c.Nodes[0].Do("POST", "/v1/chat/completions", key, nodetest.Fields{"model": "of-" + ref[:3], "messages": []nodetest.Fields{{"role": "user", "content": "hi"}}})
		if status != 503 || !strings.Contains(string(body), `"secret_unresolved"`) {
			t.Errorf("%s: got %d %s, want 503 secret_unresolved", ref, status, body)
		}
	}
	if _, err := api.TestSecret(t.Context(), "sk-not-a-reference"); err == nil {
		t.Error("what is no reference is resolved")
	}
	store.set("openai#key", "sk-second")
	store.set("words#bad", "plugh")
	for _, n := range c.Nodes {
		c.Await("the rotated secrets on "+n.Name, func() bool {
			status, _ := ask(n, "say plugh")
			return uses(n, "sk-second") && status == 400
		})
	}
	rotate(t, c, c.Nodes[1], "dek", "done") // the source's own token is sealed anew
	store.seal(true)
	if tested, err := api.TestSecret(t.Context(), "vault://secret/openai#key"); err != nil || tested.Items[0].OK || tested.Items[0].Fingerprint == "" || tested.Items[0].Reason != "unavailable" {
		t.Errorf("sealed: got %+v, %v, want the fingerprint that is held and the error", tested, err)
	}
	if !uses(c.Nodes[0], "sk-second") {
		t.Error("a sealed store ends requests whose secret is held")
	}
	if _, err := api.Guardrails().Patch(t.Context(), "words", nodetest.Fields{"on_error": "pass"}); err != nil {
		t.Fatal(err)
	}
	last := c.Nodes[2]
	last.Stop()
	last.Start()
	last.AwaitReady()
	if !unresolved(last) {
		status, body := ask(last, "hello")
		t.Errorf("started while the store is sealed: got %d %s, want 503 secret_unresolved", status, body)
	}
	store.seal(false)
	c.Await("the secrets on the node that was started without", func() bool { return uses(last, "sk-second") })
	if status, body := c.Nodes[1].Do("GET", "/api/v1/secret_sources", nodetest.MasterKey, nil); status != 200 || bytes.Contains(body, []byte("s.good")) || !bytes.Contains(body, []byte("fingerprint")) {
		t.Errorf("got %d %s", status, body)
	}
	if err := api.SecretSources().Delete(t.Context(), "vault"); err != nil {
		t.Fatal(err)
	}
	c.Await("the end of the source", func() bool { return unresolved(c.Nodes[1]) })
}
