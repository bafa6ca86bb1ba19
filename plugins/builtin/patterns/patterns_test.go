package patterns_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/patterns"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/plugins/sdk/plugintest"
	"github.com/conclave-llm/conclave/resource"
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

// Of what overlaps, the strictest action counts, in a text and however a stream of it is cut.
func TestPatterns_Overlaps(t *testing.T) {
	t.Parallel()
	const fill = " .............................................................................. "
	for _, tt := range []struct{ name, patterns, text, want string }{
		{"a flag around a block", `{"name":"f","regex":"a secret word","action":"flag"},{"name":"b","regex":"secret"}`, "a secret word", "blocked"},
		{"a flag before a block", `{"name":"f","regex":"a sec","action":"flag"},{"name":"b","regex":"secret"}`, "a secret", "blocked"},
		{"a flag around a mask", `{"name":"f","regex":"a secret word","action":"flag"},{"name":"m","regex":"secret","action":"mask"}`, "a secret word", "a [m] word"},
		{"a flag before a mask", `{"name":"f","regex":"a sec","action":"flag"},{"name":"m","regex":"secret","action":"mask"}`, "a secret word", "a [m] word"},
		{"a mask before a block", `{"name":"m","regex":"a sec","action":"mask"},{"name":"b","regex":"secret"}`, "a secret", "blocked"},
		{"a mask around a block", `{"name":"m","regex":"a secret word","action":"mask"},{"name":"b","regex":"secret"}`, "a secret word", "blocked"},
		{"masks", `{"name":"m","regex":"a sec","action":"mask"},{"name":"n","regex":"secret","action":"mask"}`, "a secret word", "[m] word"},
		{"a chain", `{"name":"m","regex":"a sec","action":"mask"},{"name":"n","regex":"secret","action":"mask"},{"name":"o","regex":"ret w","action":"mask"},{"name":"f","regex":"w.rd","action":"flag"}`, "a secret word", "[m]ord"},
		{"one after the other", `{"name":"m","regex":"[0-9]{4}","action":"mask"}`, "12345678x", "[m][m]x"},
	} {
		p := &patterns.Patterns{}
		d, err := p.Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(`{"longest":16,"patterns":[` + tt.patterns + `]}`)})
		if err != nil {
			t.Fatal(err)
		}
		v, err := p.Check(t.Context(), &sdk.Check{Texts: []sdk.Text{{Text: tt.text}}})
		got := ""
		switch v.Action {
		case guardrail.Block:
			got = "blocked"
		case guardrail.Rewrite:
			got = v.Replacements[0].Text
		}
		if err != nil || got != tt.want {
			t.Errorf("%s: got %q, %v, %v, want %q", tt.name, got, v.Action, err, tt.want)
		}
		for before := 0; before < len(fill); before += 3 {
			for i, size := range []int{1, 7, 64, 65, 1, 7, 64, 65} {
				after := fill[:i/4*len(fill)]
				if got, want := streamed(t, p, d, fill[:before]+tt.text+after, size), fill[:before]+tt.want+after; got != want && (got != "blocked" || tt.want != "blocked") {
					t.Fatalf("%s behind %d bytes, in pieces of %d: got %q, want %q", tt.name, before, size, got, want)
				}
			}
		}
	}
}

// streamed is what leaves of a stream of the text, in pieces of a size.
func streamed(t *testing.T, p *patterns.Patterns, d sdk.GuardrailDescription, text string, size int) string {
	t.Helper()
	m := &guardrail.Member{Name: "patterns", OnError: resource.OnErrorBlock}
	m.Set(&guardrail.Live{Backend: p, Description: d})
	c := guardrail.NewChain(nil, nil)
	c.Replace([]*guardrail.Member{m})
	check, err := c.For("m", guardrail.Choice{}).Stream(t.Context(), &guardrail.Request{})
	if err != nil {
		t.Fatal(err)
	}
	defer check.Close()
	var out [][]byte
	for piece := range slices.Chunk([]byte(text), size) {
		events, err := check.Feed(t.Context(), fmt.Appendf(nil, "data: {\"x\":%q}\n\n", piece))
		if err != nil {
			return said(t, err)
		}
		out = append(out, events...)
	}
	events, err := check.End(t.Context())
	if err != nil {
		return said(t, err)
	}
	var left strings.Builder
	for _, e := range append(out, events...) {
		var data struct{ X string }
		if err := json.Unmarshal(bytes.TrimPrefix(e, []byte("data: ")), &data); err != nil {
			t.Fatalf("%q: %v", e, err)
		}
		left.WriteString(data.X)
	}
	return left.String()
}

// said is "blocked" for the error of a block.
func said(t *testing.T, err error) string {
	t.Helper()
	if !strings.Contains(err.Error(), "not allowed here") {
		t.Fatal(err)
	}
	return "blocked"
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
