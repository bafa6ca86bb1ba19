package schema_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/schema"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/plugins/sdk/plugintest"
)

const config = `{"fences":true,"schema":{"type":"object","properties":{"city":{"type":"string","pattern":"^[A-Z]"},"n":{"$ref":"#/$defs/count"}},
	"required":["city"],"additionalProperties":false,"$defs":{"count":{"type":"integer","minimum":0}}}}`

func configured(t testing.TB) *schema.Schema {
	t.Helper()
	g := &schema.Schema{}
	if _, err := g.Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(config)}); err != nil {
		t.Fatal(err)
	}
	return g
}

// The texts of answers in every dialect are found where the host finds them.
func TestSchema_Answers(t *testing.T) {
	t.Parallel()
	g := configured(t)
	for _, tt := range []struct{ name, body, found string }{
		{"chat", `{"choices":[{"index":0,"message":{"role":"assistant","content":%q}}]}`, "[]"},
		{"chat, n", `{"choices":[{"index":0,"message":{"content":%q}},{"index":1,"message":{"content":"{}"}}]}`, "[schema]"},
		{"chat parts", `{"choices":[{"index":0,"message":{"content":[{"type":"text","text":%q}]}}]}`, "[]"},
		{"reasoning beside it", `{"choices":[{"index":0,"message":{"content":%q,"reasoning_content":"so"}}]}`, "[]"},
		{"a call of a tool", `{"choices":[{"index":0,"message":{"content":null,"tool_calls":[{"function":{"name":"f","arguments":%q}}]}}]}`, "[]"},
		{"completions", `{"choices":[{"index":0,"text":%q}]}`, "[]"},
		{"responses", `{"output":[{"type":"message","content":[{"type":"output_text","text":%q}]}]}`, "[]"},
		{"messages", `{"type":"message","role":"assistant","content":[{"type":"text","text":%q}]}`, "[]"},
		{"generateContent", `{"candidates":[{"content":{"role":"model","parts":[{"text":%q}]}}]}`, "[]"},
	} {
		for text, found := range map[string]string{
			`{"city":"Rome","n":2}`: tt.found, "```json\n{\"city\":\"Rome\"}\n```": tt.found, `{"city":"rome"}`: "schema", `{"city":"Rome","n":-1}`: "schema",
			`{"city":"Rome"} and more`: "not_json", `Rome`: "not_json", strings.Repeat("[", 300): "not_json",
		} {
			body := fmt.Appendf(nil, tt.body, text)
			texts, err := guardrail.Extract(body)
			if err != nil {
				t.Fatalf("%s: %v in %s", tt.name, err, body)
			}
			v, err := g.Check(t.Context(), &sdk.Check{Hook: sdk.After, Texts: texts.List()})
			if err != nil {
				t.Fatal(err)
			}
			want := found
			if tt.name == "a call of a tool" {
				want = "[]"
			}
			if got := fmt.Sprint(v.Findings); !strings.Contains(got, want) || (v.Action == guardrail.Block) != (want != "[]") {
				t.Errorf("%s %s: got %v, %s, want %s", tt.name, text, v.Action, got, want)
			}
		}
	}
}

func TestSchema_Configure(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		`{}`: "schema: has 0 bytes", `{"schema":{"type":1}}`: "schema: ", `{"schema":{"pattern":"("}}`: "schema: ",
		`{"schema":{"$ref":"https://example.com/x"}}`: "schema: ", `{"schema":[]}`: "schema: ",
	} {
		_, err := (&schema.Schema{}).Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(config)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
}

func TestSchema_Conformance(t *testing.T) {
	t.Parallel()
	plugintest.Guardrail(t, func() sdk.Guardrail { return &schema.Schema{} }, plugintest.GuardrailCase{
		Config: []byte(config), Passes: `{"city":"Rome"}`, Bad: [][]byte{[]byte(`{"schema":1}`)},
	})
}

func FuzzSchema(f *testing.F) {
	f.Add(`{"city":"Rome"}`)
	f.Add("```\n[]\n```")
	g := configured(f)
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := g.Check(t.Context(), &sdk.Check{Hook: sdk.After, Texts: []sdk.Text{{Path: "choices#0.message.content", Text: text}}}); err != nil {
			t.Error(err)
		}
	})
}
