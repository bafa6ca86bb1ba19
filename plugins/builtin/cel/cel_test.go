package cel_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/cel"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/plugins/sdk/plugintest"
)

func TestCEL(t *testing.T) {
	t.Parallel()
	const config = `{"answers":true,"body":true,"rules":[
		{"name":"shouting","expression":"texts.exists(t, t.role == 'user' && t.text.size() > 3 && t.text.upperAscii() == t.text)","message":"please do not shout"},
		{"name":"wild","expression":"has(body.temperature) && body.temperature > 1.5"},
		{"name":"other team","expression":"team != 'research' && model.startsWith('secret-')"},
		{"name":"long","expression":"hook == 'after' && text.size() > 10","action":"flag"},
		{"name":"code","expression":"text.matches('(?i)drop table')"}]}`
	g := &cel.CEL{}
	if _, err := g.Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(config)}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		text, body    string
		info          sdk.Info
		hook          sdk.Hook
		found, blocks string
	}{
		{"hello", `{}`, sdk.Info{}, sdk.Before, "[]", ""},
		{"HELLO", `{}`, sdk.Info{}, sdk.Before, "[shouting]", "please do not shout"},
		{"hello", `{"temperature":1.9}`, sdk.Info{}, sdk.Before, "[wild]", "a rule does not let this pass"},
		{"hello", `{}`, sdk.Info{Model: "secret-1", TeamID: "sales"}, sdk.Before, "[other team]", "a rule does not let this pass"},
		{"hello", `{}`, sdk.Info{Model: "secret-1", TeamID: "research"}, sdk.Before, "[]", ""},
		{"a long answer, it is", `{}`, sdk.Info{}, sdk.After, "[long]", ""},
		{"a long answer: Drop Table x", `{}`, sdk.Info{}, sdk.After, "[long code]", "a rule does not let this pass"},
	} {
		v, err := g.Check(t.Context(), &sdk.Check{Hook: tt.hook, Info: tt.info, Body: []byte(tt.body), Texts: []sdk.Text{{Role: "user", Text: tt.text}}})
		if err != nil || fmt.Sprint(v.Findings) != tt.found || v.Message != tt.blocks || (v.Action == guardrail.Block) != (tt.blocks != "") {
			t.Errorf("%q %s: got %v %q, %v, %v, want %s %q", tt.text, tt.body, v.Action, v.Message, v.Findings, err, tt.found, tt.blocks)
		}
	}
}

// A rule that cannot be told was not run: it does not pass, and its error does not quote the text.
func TestCEL_Fails(t *testing.T) {
	t.Parallel()
	for _, expression := range []string{"int(text) > 1", "texts.all(a, texts.all(b, texts.all(c, texts.all(d, a.text + b.text + c.text + d.text != ''))))"} {
		g := &cel.CEL{}
		config := fmt.Sprintf(`{"rules":[{"name":"r","expression":%q}]}`, expression)
		if _, err := g.Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(config)}); err != nil {
			t.Fatal(err)
		}
		texts := make([]sdk.Text, 200)
		for i := range texts {
			texts[i].Text = "my canary"
		}
		if v, err := g.Check(t.Context(), &sdk.Check{Hook: sdk.Before, Texts: texts}); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v, %v", expression, v, err)
		}
	}
}

func TestCEL_Configure(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		`{}`: "rules: give 1 to",
		`{"rules":[{"name":"a","expression":"text.size()"}]}`:          "rules[0].expression: is a int, not a bool",
		`{"rules":[{"name":"a","expression":"txt == ''"}]}`:            "rules[0].expression: ERROR",
		`{"rules":[{"name":"a","expression":"body == 1"}]}`:            "rules[0].expression: ERROR",
		`{"rules":[{"expression":"true"}]}`:                            "rules[0].name: is missing",
		`{"rules":[{"name":"a","expression":"true","action":"mask"}]}`: "rules[0].action",
		`{"rules":[{"name":"a","expression":"text.matches('(') "}]}`:   "rules[0].expression",
	} {
		_, err := (&cel.CEL{}).Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(config)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
}

func TestCEL_Conformance(t *testing.T) {
	t.Parallel()
	plugintest.Guardrail(t, func() sdk.Guardrail { return &cel.CEL{} }, plugintest.GuardrailCase{
		Config: []byte(`{"answers":true,"rules":[{"name":"a","expression":"text.contains('forbidden')"}]}`), Passes: "a text", Stops: "a forbidden text",
	})
}

func FuzzCEL(f *testing.F) {
	f.Add("text == ''")
	f.Add("texts.exists(t, t.role == 'user')")
	f.Fuzz(func(t *testing.T, expression string) {
		g := &cel.CEL{}
		_, _ = g.Configure(t.Context(), sdk.GuardrailSettings{Config: fmt.Appendf(nil, `{"rules":[{"name":"r","expression":%q}]}`, expression)})
	})
}
