package patterns_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/patterns"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/plugins/sdk/plugintest"
)

func TestPatterns(t *testing.T) {
	t.Parallel()
	const config = `{"patterns":[
		{"name":"ticket","regex":"\\bT-\\d+\\b","action":"mask"},
		{"name":"name","regex":"Mr\\. (\\w+)","group":1,"action":"mask","mask":"X"},
		{"name":"seen","regex":"hello","action":"flag"},
		{"name":"never","regex":"forbidden"},
		{"name":"not now","regex":"off","action":"allow"}]}`
	p := &patterns.Patterns{}
	if _, err := p.Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(config)}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ text, want, found string }{
		{"T-12 and T-3x and aT-4", "[ticket] and T-3x and aT-4", "[ticket]"},
		{"ask Mr. Smith, hello", "ask Mr. X, hello", "[name seen]"},
		{"hello hello", "", "[seen 2]"},
		{"off", "", "[]"},
		{"forbidden T-1", "blocked", "[never ticket]"},
	} {
		v, err := p.Check(t.Context(), &sdk.Check{Texts: []sdk.Text{{Text: tt.text}}})
		got := ""
		switch {
		case v.Action == sdk.Block("").Action:
			got = "blocked"
		case len(v.Replacements) > 0:
			got = v.Replacements[0].Text
		}
		if err != nil || got != tt.want || fmt.Sprint(v.Findings) != tt.found {
			t.Errorf("%q: got %q, %v, %v, want %q, %s", tt.text, got, v.Findings, err, tt.want, tt.found)
		}
	}
}

func TestPatterns_Configure(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		`{}`: "patterns: give 1 to",
		`{"patterns":[{"name":"a","regex":"("}]}`:              "patterns[0].regex: error parsing",
		`{"patterns":[{"name":"a","regex":"b*"}]}`:             "patterns[0].regex: matches an empty text",
		`{"patterns":[{"regex":"b"}]}`:                         "patterns[0].name: is missing",
		`{"patterns":[{"name":"a","regex":"b","group":1}]}`:    "patterns[0].group",
		`{"patterns":[{"name":"a","regex":"b","action":"x"}]}`: "patterns[0].action",
		`{"patterns":[{"name":"a","regex":"b"}],"longest":0}`:  "longest",
		`{"patterns":[{"name":"a","regex":"b","to":1}]}`:       "to",
	} {
		_, err := (&patterns.Patterns{}).Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(config)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
}

func TestPatterns_Conformance(t *testing.T) {
	t.Parallel()
	plugintest.Guardrail(t, func() sdk.Guardrail { return &patterns.Patterns{} }, plugintest.GuardrailCase{
		Config: []byte(`{"patterns":[{"name":"a","regex":"forb.dden"}]}`), Passes: "a text", Stops: "a forbidden text",
	})
}
