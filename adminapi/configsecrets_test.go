package adminapi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/resource"
)

// guard reads a guardrail, and refuses to show a secret.
type guard struct {
	*testing.T
	h *adminapitest.Harness
}

// stored says what is in the configuration and which secrets are sealed.
func (g guard) stored(path string) (config, secrets map[string]any) {
	g.Helper()
	a := g.h.Call(adminapitest.MasterKey, "GET", path, "")
	if a.Status != 200 || strings.Contains(string(a.Body), "canary") {
		g.Fatalf("%s: got %d %s", path, a.Status, a.Body)
	}
	doc := a.Object(g.T)
	config, _ = doc["config"].(map[string]any)
	secrets, _ = doc["secrets"].(map[string]any)
	return config, secrets
}

func (g guard) write(method, path, body string, want int) {
	g.Helper()
	if a := g.h.Call(adminapitest.MasterKey, method, path, body); a.Status != want {
		g.Fatalf("%s %s %s: got %d %s, want %d", method, path, body, a.Status, a.Body, want)
	}
}

// TestConfigSecrets seals what the schema of a plugin marks as secret, wherever it is given.
func TestConfigSecrets(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	g := guard{t, h}
	for _, tt := range []struct{ path, body, secret string }{
		{"guardrails", `{"name":"in-config","plugin":"lakera","config":{"api_base":"https://x","api_key":"canary"}}`, "api_key"},
		{"guardrails", `{"name":"by-name","plugin":"lakera","config":{"api_base":"https://x"},"secrets":{"api_key":"canary"}}`, "api_key"},
		{"guardrails", `{"name":"nested","plugin":"model_armor","config":{"api_base":"https://x","project_id":"p","location":"l","template_id":"t","service_account":{"client_email":"a@b","private_key":"canary","token_uri":"https://t"}}}`, "service_account.private_key"},
		{"guardrails", `{"name":"no-schema","plugin":"mine","config":{"url":"https://x"},"secrets":{"token":"canary"}}`, "token"},
		{"callbacks", `{"name":"sink","plugin":"webhook","config":{"url":"https://x","secret":"canary"}}`, "secret"},
		{"secret_sources", `{"name":"vault","plugin":"vault","config":{"address":"https://x","token":"canary"}}`, "token"},
	} {
		g.write("POST", "/api/v1/"+tt.path, tt.body, 201)
		name := strings.Split(tt.body, `"`)[3]
		config, secrets := g.stored("/api/v1/" + tt.path + "/" + name)
		if len(secrets) != 1 || secrets[tt.secret] == nil || config[tt.secret] != nil {
			t.Errorf("%s: got config %v and secrets %v, want %s sealed", tt.body, config, secrets, tt.secret)
		}
	}
	if a := h.Call(adminapitest.MasterKey, "GET", "/api/v1/audit", ""); a.Status != 200 || strings.Contains(string(a.Body), "canary") || !strings.Contains(string(a.Body), "in-config") {
		t.Errorf("the audit log: got %d %s", a.Status, a.Body)
	}
	const path = "/api/v1/guardrails/in-config"
	_, first := g.stored(path)
	g.write("PATCH", path, `{"mode":"observe"}`, 200)
	if _, now := g.stored(path); fmt.Sprint(now) != fmt.Sprint(first) {
		t.Errorf("another mode: got %v, want %v", now, first)
	}
	g.write("PATCH", path, `{"config":{"api_base":"https://elsewhere"}}`, 400)
	g.write("PATCH", path, `{"config":{"api_key":"canary-2"},"secrets":{"api_key":"canary-3"}}`, 400)
	g.write("PATCH", path, `{"secrets":{"api_key":{"fingerprint":"00000000"}}}`, 400)
	g.write("PATCH", path, `{"config":{"api_base":"https://elsewhere","api_key":"canary-2"}}`, 200)
	config, second := g.stored(path)
	if config["api_base"] != "https://elsewhere" || fmt.Sprint(second) == fmt.Sprint(first) {
		t.Errorf("elsewhere: got %v and %v", config, second)
	}
	g.write("PATCH", path, `{"config":{"api_key":"env://K"},"secrets":{"api_key":null}}`, 200)
	if config, secrets := g.stored(path); config["api_key"] != "env://K" || secrets != nil {
		t.Errorf("a reference: got %v and %v", config, secrets)
	}
	g.write("PATCH", path, `{"secrets":{"api_key":"canary-4"}}`, 200)
	if config, secrets := g.stored(path); config["api_key"] != nil || secrets["api_key"] == nil {
		t.Errorf("in the place of the reference: got %v and %v", config, secrets)
	}
}

// TestConfigSecrets_Upgrade moves what an older version has stored in the clear when the record is next
// written, and leaves it alone until then.
func TestConfigSecrets_Upgrade(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	g := guard{t, h}
	const old = `{"api_base":"https://x","api_key":"stored","headers":{"Authorization":"Bearer y"}}`
	for name, plugin := range map[string]string{"moved": "lakera", "again": "lakera", "own": "mine"} {
		e, err := codec.Encode(resource.Guardrail{Meta: resource.Meta{ID: name, Owner: resource.OwnerAPI}, Name: name, Plugin: plugin, Config: []byte(old)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Propose(t.Context(), fsm.Actor{Kind: "master"}, "", fsm.PutGuardrail{Guardrail: e}); err != nil {
			t.Fatal(err)
		}
		if config, secrets := g.stored("/api/v1/guardrails/" + name); config["api_key"] != "stored" || secrets != nil {
			t.Errorf("%s: got %v and %v", name, config, secrets)
		}
	}
	for _, tt := range []struct {
		name, patch string
		sealed      []string
	}{
		{"moved", `{"mode":"observe"}`, []string{"api_key"}},
		{"again", `{"secrets":{"api_key":"canary","headers.Authorization":"canary"}}`, []string{"api_key", "headers.Authorization"}},
		{"own", `{"secrets":{"api_key":"canary"}}`, []string{"api_key"}},
	} {
		g.write("PATCH", "/api/v1/guardrails/"+tt.name, tt.patch, 200)
		config, secrets := g.stored("/api/v1/guardrails/" + tt.name)
		if config["api_base"] != "https://x" || config["api_key"] != nil || len(secrets) != len(tt.sealed) {
			t.Errorf("%s: got %v and %v", tt.patch, config, secrets)
		}
		for _, name := range tt.sealed {
			if secrets[name] == nil {
				t.Errorf("%s: %s is not sealed: %v", tt.patch, name, secrets)
			}
		}
	}
}
