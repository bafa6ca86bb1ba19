package schema_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin"
	"github.com/conclave-llm/conclave/plugins/builtin/amazon"
	"github.com/conclave-llm/conclave/plugins/builtin/azure"
	"github.com/conclave-llm/conclave/plugins/builtin/google"
	"github.com/conclave-llm/conclave/plugins/builtin/patterns"
	"github.com/conclave-llm/conclave/plugins/builtin/pii"
	"github.com/conclave-llm/conclave/plugins/builtin/secrets"
	"github.com/conclave-llm/conclave/plugins/builtin/vaultkv"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/schema"
	"github.com/conclave-llm/conclave/plugins/secretsource"
	"github.com/conclave-llm/conclave/resource"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	uploaded := []*resource.Plugin{{
		Name: "shout", Kind: "guardrail", Manifest: `{"format":1,"name":"shout","version":"1","kind":"guardrail",
			"schema":{"type":"object","required":["loud"],"properties":{"loud":{"type":"integer","maximum":11}},"additionalProperties":false},
			"binaries":[{"os":"any","arch":"any","size":1,"sha256":"` + strings.Repeat("a", 64) + `"}]}`,
	}, {Name: "pii", Kind: "guardrail", Path: "/opt/pii"}}
	for _, tt := range []struct {
		name, kind, plugin, config string
		want                       string // part of the error; "": it fits
	}{
		{"fits", "guardrail", "keywords", `{"words":["x"]}`, ""},
		{"a member of the wrong type", "guardrail", "keywords", `{"words":"x"}`, "words: type"},
		{"a required member is missing", "guardrail", "keywords", ``, `"words"`},
		{"a value that there is not", "guardrail", "keywords", `{"words":["x"],"action":"shout"}`, "action"},
		{"deep within", "guardrail", "patterns", `{"patterns":[{"name":"a","regex":1}]}`, "regex"},
		{"uploaded, fits", "guardrail", "shout", `{"loud":11}`, ""},
		{"uploaded, too large", "guardrail", "shout", `{"loud":12}`, "maximum"},
		{"uploaded, unknown member", "guardrail", "shout", `{"loud":1,"x":1}`, "x"},
		{"a plugin without a schema", "guardrail", "nobody", `{"x":1}`, ""},
		{"registered in the place of a shipped one", "guardrail", "pii", `{"action":1}`, ""},
		{"a name that is a path", "guardrail", "../schema", `{"words":1}`, ""},
		{"a reference to a variable", "callback", "file", `{"path":"env://PATH"}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := schema.Check(uploaded, tt.kind, tt.plugin, json.RawMessage(tt.config))
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Check = %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestCompile_FetchesNothing(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{"$ref":"https://example.com/schema.json"}`, `{"$ref":"file:///etc/passwd"}`, `7`, `{"type":"nothing"}`} {
		check, err := schema.Compile(json.RawMessage(text))
		if err == nil {
			err = check(json.RawMessage(`{}`))
		}
		if err == nil {
			t.Errorf("%s is taken for a schema", text)
		}
	}
}

// TestShipped holds the schemas of shipped plugins to what the plugins themselves accept: each
// has examples that fit the schema and configure the plugin, and all its members stand in one.
func TestShipped(t *testing.T) {
	t.Parallel()
	guardrails := map[string]func() guardrail.Plugin{
		"keywords": func() guardrail.Plugin { return &builtin.Keywords{} },
		"patterns": func() guardrail.Plugin { return &patterns.Patterns{} },
		"pii":      func() guardrail.Plugin { return &pii.PII{} },
		"secrets":  func() guardrail.Plugin { return &secrets.Secrets{} },
	}
	sources := map[string]func() secretsource.Plugin{
		"aws_secrets_manager": func() secretsource.Plugin { return &amazon.SecretsManager{} },
		"azure_key_vault":     func() secretsource.Plugin { return &azure.KeyVault{} },
		"gcp_secret_manager":  func() secretsource.Plugin { return &google.SecretManager{} },
		"vault":               func() secretsource.Plugin { return &vaultkv.Vault{} },
	}
	files, err := filepath.Glob("shipped/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d schemas, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		p, ok := builtin.Lookup(name)
		if !ok {
			t.Errorf("%s is the schema of nothing", file)
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var s struct{ Examples []json.RawMessage }
		if err := json.Unmarshal(text, &s); err != nil || len(s.Examples) == 0 {
			t.Errorf("%s: %d examples, %v", file, len(s.Examples), err)
		}
		for _, example := range s.Examples {
			if err := schema.Check(nil, p.Kind, name, example); err != nil {
				t.Errorf("%s: %s: %v", name, example, err)
			}
			if fresh := sources[name]; fresh != nil {
				if _, err := fresh().Configure(context.Background(), secretsource.Settings{Name: "test", Config: example}); err != nil {
					t.Errorf("%s refuses %s: %v", name, example, err)
				}
			}
			if fresh := guardrails[name]; fresh != nil {
				if _, err := fresh().Configure(context.Background(), guardrail.Settings{Name: "test", Config: example}); err != nil {
					t.Errorf("%s refuses %s: %v", name, example, err)
				}
			}
		}
	}
}
