package adminapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi"
	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/plugins/auth"
	"github.com/conclave-llm/conclave/resource"
)

// TestKeyHook has a plugin fill in and refuse keys that are made and changed.
func TestKeyHook(t *testing.T) {
	t.Parallel()
	var drafts []auth.KeyDraft
	fill, refused, away := "", "", error(nil)
	h := adminapitest.New(t, func(c *adminapi.Config) {
		c.KeyHook = func(_ context.Context, a *resource.Auth, d *auth.KeyDraft) (auth.KeyVerdict, error) {
			if a.Name != "policy" {
				t.Errorf("asked as %s", a.Name)
			}
			drafts = append(drafts, *d)
			return auth.KeyVerdict{Fill: []byte(fill), Refused: refused}, away
		}
	})
	h.Must("POST", "/api/v1/keys", `{"id":"before","name":"before"}`)
	if len(drafts) != 0 {
		t.Errorf("without an auth plugin it is asked: %+v", drafts)
	}
	h.Must("POST", "/api/v1/teams", `{"id":"red","name":"red"}`)
	h.Must("POST", "/api/v1/users", `{"id":"plain"}`)
	plain, _ := h.Must("POST", "/api/v1/keys", `{"id":"k-plain","user_id":"plain"}`)["secret"].(string)
	h.Must("POST", "/api/v1/auths", `{"name":"policy","plugin":"policy"}`)
	read := func(id string) map[string]any { return h.Must("GET", "/api/v1/keys/"+id, "") }

	fill = `{"team_id":"red","models":["small"],"metadata":{"by":"policy"}}`
	made := h.Must("POST", "/api/v1/keys", `{"id":"made","name":"made","models":["large"],"limits":{"rpm":5}}`)
	k := read("made")
	if k["team_id"] != "red" || k["models"].([]any)[0] != "small" || k["limits"].(map[string]any)["rpm"] != 5.0 || k["hash"] != read("made")["hash"] {
		t.Errorf("filled in: %v", k)
	}
	var seen map[string]any
	d := drafts[len(drafts)-1]
	if err := json.Unmarshal(d.Key, &seen); err != nil || d.Hook != auth.HookGenerateKey || d.Actor != "master" || d.Before != nil || seen["name"] != "made" {
		t.Errorf("draft: %s %+v, %v", d.Key, d, err)
	}
	secret, _ := made["secret"].(string)
	if secret == "" || strings.Contains(string(d.Key), secret) || seen["hash"] != nil || seen["old_hashes"] != nil {
		t.Errorf("the plugin sees secrets: %s", d.Key)
	}
	fill = `{"models":null}`
	h.Must("PATCH", "/api/v1/keys/made", `{"name":"renamed"}`)
	d = drafts[len(drafts)-1]
	if k := read("made"); k["models"] != nil || k["name"] != "renamed" || d.Hook != auth.HookUpdateKey || !strings.Contains(string(d.Before), `"name":"made"`) {
		t.Errorf("changed: %v, the plugin saw %s", k, d.Before)
	}

	for _, other := range []string{`{"team_id":null}`, `{"user_id":"plain"}`, `{"team_id":"blue"}`} {
		fill = other
		if a := h.Call(adminapitest.MasterKey, "PATCH", "/api/v1/keys/made", `{"name":"again"}`); a.Status != 503 || !strings.Contains(string(a.Body), "auth_plugin_unavailable") {
			t.Errorf("a key that there is, filled with %s: %d %s", other, a.Status, a.Body)
		}
	}
	fill = `{"team_id":"red","metadata":{"seen":true}}` // as it is
	h.Must("PATCH", "/api/v1/keys/made", `{"name":"again"}`)
	if k := read("made"); k["team_id"] != "red" || k["name"] != "again" {
		t.Errorf("changed with what it has: %v", k)
	}

	// What it fills in the maker must be allowed to give.
	fill = `{"role":"proxy_admin"}`
	if a := h.Call(plain, "POST", "/key/generate", `{"key_alias":"mine"}`); a.Status != 403 {
		t.Errorf("a user's key with a role: %d %s", a.Status, a.Body)
	}
	fill, refused = "", "Give the key a purpose."
	if a := h.Call(adminapitest.MasterKey, "POST", "/api/v1/keys", `{"name":"without"}`); a.Status != 403 || !strings.Contains(string(a.Body), "purpose") {
		t.Errorf("refused: %d %s", a.Status, a.Body)
	}
	refused = ""
	for _, wrong := range []string{`{"hash":"00"}`, `{"id":"other"}`, `{"owner":"file"}`, `{"blocked":true}`, `{"modles":["x"]}`, `[1]`, `{"models":7}`, `{"limits":{"rpm":-1}}`} {
		fill = wrong
		if a := h.Call(adminapitest.MasterKey, "POST", "/api/v1/keys", `{"name":"wrong"}`); a.Status != 503 || !strings.Contains(string(a.Body), "auth_plugin_unavailable") {
			t.Errorf("filled with %s: %d %s", wrong, a.Status, a.Body)
		}
	}
	fill, away = "", errors.New("away")
	if a := h.Call(adminapitest.MasterKey, "POST", "/api/v1/keys", `{"name":"away"}`); a.Status != 503 {
		t.Errorf("away: %d %s", a.Status, a.Body)
	}
	h.Must("PATCH", "/api/v1/auths/policy", `{"on_error":"pass"}`)
	h.Must("POST", "/api/v1/keys", `{"name":"away"}`)
}
