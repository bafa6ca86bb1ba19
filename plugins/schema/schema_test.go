package schema_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/schema"
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
		{"a choice", "guardrail", "bedrock_guardrails", `{"api_base":"https://b","guardrailIdentifier":"g"}`, `["api_key"]; or required: missing properties: ["aws_access_key_id"`},
		{"otherwise", "guardrail", "judge", `{"model":"m"}`, `: required: missing properties: ["criteria"]`},
		{"a plugin without a schema", "guardrail", "nobody", `{"x":1}`, ""},
		{"a shipped plugin of another kind", "callback", "keywords", `{"x":1}`, ""},
		{"registered in the place of a shipped one", "guardrail", "pii", `{"action":1}`, ""},
		{"a name that is a path", "guardrail", "../schema", `{"words":1}`, ""},
		{"a kind that is a path", "callback/../guardrail", "keywords", `{"x":1}`, ""},
		{"a reference to a variable", "callback", "file", `{"path":"env://PATH"}`, ""},
		{"a vendor", "callback", "honeycomb", `{"api_key":"vault://secret/llm#key"}`, ""},
		{"what a vendor needs is missing", "callback", "honeycomb", `{"endpoint":"https://h"}`, `"api_key"`},
		{"a vendor without an address of its own", "callback", "mlflow", `{"project":"1"}`, `"endpoint"`},
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
