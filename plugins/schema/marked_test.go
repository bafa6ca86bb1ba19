package schema_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/jsonschema-go/jsonschema"

	"github.com/conclave-llm/conclave/plugins/builtin"
	"github.com/conclave-llm/conclave/plugins/schema"
	"github.com/conclave-llm/conclave/resource"
)

func TestTakeSecrets(t *testing.T) {
	t.Parallel()
	uploaded := []*resource.Plugin{{
		Name: "shout", Kind: "guardrail", Manifest: `{"format":1,"name":"shout","version":"1","kind":"guardrail",
			"schema":{"type":"object","properties":{"token":{"type":"string","writeOnly":true},"a.b":{"type":"string","writeOnly":true},
				"headers":{"type":"object","additionalProperties":{"type":"string","writeOnly":true}},
				"login":{"anyOf":[{"type":"string"},{"type":"object","properties":{"password":{"type":"string","writeOnly":true}}}]}}},
			"binaries":[{"os":"any","arch":"any","size":1,"sha256":"` + strings.Repeat("a", 64) + `"}]}`,
	}}
	for _, tt := range []struct {
		name, plugin, config string
		rest                 string
		secrets              map[string]string
	}{
		{"a key", "lakera", `{ "api_base": "https://x", "api_key": "k" }`, `{"api_base":"https://x"}`, map[string]string{"api_key": "k"}},
		{"nothing is marked", "keywords", `{ "words": ["k"] }`, `{ "words": ["k"] }`, nil},
		{"a reference to a variable", "lakera", `{ "api_key": "env://K" }`, `{ "api_key": "env://K" }`, nil},
		{"LiteLLM's reference", "lakera", `{ "api_key": "os.environ/K" }`, `{ "api_key": "os.environ/K" }`, nil},
		{"a reference to a source", "lakera", `{ "api_key": "vault://a/b#c" }`, `{ "api_key": "vault://a/b#c" }`, nil},
		{"no text", "lakera", `{ "api_key": 7 }`, `{ "api_key": 7 }`, nil},
		{"an empty text", "lakera", `{ "api_key": "" }`, `{ "api_key": "" }`, nil},
		{"a text that may be an object", "model_armor", `{"service_account":"{}"}`, `{}`, map[string]string{"service_account": "{}"}},
		{"and the object", "model_armor", `{"service_account":{"client_email":"a","private_key":"k"}}`, `{"service_account":{"client_email":"a"}}`, map[string]string{"service_account.private_key": "k"}},
		{"uploaded", "shout", `{"token":"k","loud":1.50,"a.b":"x"}`, `{"a.b":"x","loud":1.50}`, map[string]string{"token": "k"}},
		{"all members of an object", "shout", `{"headers":{"X-A.B":"k","X-C":"env://C"}}`, `{"headers":{"X-C":"env://C"}}`, map[string]string{"headers.X-A.B": "k"}},
		{"one of several", "shout", `{"login":{"password":"k"}}`, `{"login":{}}`, map[string]string{"login.password": "k"}},
		{"no schema", "nobody", `{"api_key":"k"}`, `{"api_key":"k"}`, nil},
		{"no object", "lakera", `[1]`, `[1]`, nil},
		{"nothing", "lakera", ``, ``, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rest, secrets, err := schema.TakeSecrets(uploaded, "guardrail", tt.plugin, json.RawMessage(tt.config))
			if err != nil || string(rest) != tt.rest || !maps.Equal(secrets, tt.secrets) {
				t.Errorf("got %s and %v (%v), want %s and %v", rest, secrets, err, tt.rest, tt.secrets)
			}
		})
	}
}

// TestShipped_Marked lists the members of shipped plugins' configurations that are sealed wherever they are
// given. Addresses are not, though some hold a secret: a sealed cluster must know them.
func TestShipped_Marked(t *testing.T) {
	t.Parallel()
	got := map[string][]string{}
	for _, p := range builtin.Plugins() {
		var s jsonschema.Schema
		if err := json.Unmarshal(schema.Of(nil, p.Kind, p.Name), &s); err != nil {
			t.Fatal(err)
		}
		for name, m := range s.Properties {
			if m.WriteOnly {
				got[name] = append(got[name], p.Name)
			}
			for _, c := range m.OneOf {
				for inner, m := range c.Properties {
					if m.WriteOnly != (inner == "private_key") {
						t.Errorf("%s of %s: %s.%s is marked: %v", p.Kind, p.Name, name, inner, m.WriteOnly)
					}
				}
			}
			if strings.HasSuffix(name, "_key") && name != "public_key" && !m.WriteOnly || strings.Contains(name, "password") && !m.WriteOnly {
				t.Errorf("%s of %s: %s is not marked", p.Kind, p.Name, name)
			}
		}
	}
	want := []string{
		"account_key", "api_key", "aws_secret_access_key", "aws_session_token", "client_key", "client_secret", "password", "sas", "secret", "secret_access_key",
		"secret_id", "secret_key", "service_account", "session_token", "token",
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("marked (-want +got):\n%s", diff)
	}
}

func FuzzTakeSecrets(f *testing.F) {
	f.Add(`{"api_key":"k","headers":{"a":"b"}}`)
	f.Add(`{"service_account":{"private_key":"k"}}`)
	f.Add(`{"api_key":{"api_key":"k"},"":null}`)
	f.Fuzz(func(t *testing.T, config string) {
		for _, name := range []string{"lakera", "model_armor"} {
			rest, secrets, err := schema.TakeSecrets(nil, "guardrail", name, json.RawMessage(config))
			if err != nil {
				t.Fatalf("%q: %v", config, err)
			}
			again, more, err := schema.TakeSecrets(nil, "guardrail", name, rest)
			if err != nil || len(more) != 0 || string(again) != string(rest) {
				t.Errorf("%q: left %s, of which %v was taken (%v)", config, rest, more, err)
			}
			if len(secrets) == 0 && string(rest) != config {
				t.Errorf("%q became %s, and nothing was taken", config, rest)
			}
		}
	})
}
