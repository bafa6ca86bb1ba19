package chattemplate_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chattemplate"
)

var tokens = chattemplate.Parts{BOS: "<s>", EOS: "</s>"}

// TestCompile_Golden compares with what Jinja2 itself writes (testdata/golden.py).
func TestCompile_Golden(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		Name, Template, Want, Refused string
		Turns                         []llm.Turn
	}
	if err := json.Unmarshal(raw, &rows); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		tpl, err := chattemplate.Compile(row.Template, tokens)
		if err != nil {
			t.Errorf("%s: %v", row.Name, err)
			continue
		}
		got, err := tpl.Render(row.Turns)
		if row.Refused != "" {
			if r, ok := errors.AsType[*chattemplate.Refusal](err); !ok || r.Message != row.Refused {
				t.Errorf("%s: got %v, want the refusal %q", row.Name, err, row.Refused)
			}
			continue
		}
		if d := cmp.Diff(row.Want, got); err != nil || d != "" {
			t.Errorf("%s: %v (-want +got)\n%s", row.Name, err, d)
		}
	}
	if len(rows) < 30 {
		t.Errorf("got %d rows", len(rows))
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	tpl := chattemplate.New(chattemplate.Parts{
		Frames: map[string]chattemplate.Frame{
			"system": {"[INST] <<SYS>>\n", "\n<</SYS>>\n[/INST]\n"}, "user": {"[INST] ", " [/INST]\n"}, "assistant": {"", "\n"},
		},
		Initial: "I:", Final: ":F", BOS: "<s>", EOS: "</s>",
	})
	got, err := tpl.Render([]llm.Turn{{Role: "system", Content: "s"}, {Role: "user", Content: "u"}, {Role: "assistant", Content: "a"}, {Role: "system", Content: "t"}, {Role: "tool", Content: "x"}})
	want := "<s>I:[INST] <<SYS>>\ns\n<</SYS>>\n[/INST]\n[INST] u [/INST]\na\n</s><s>[INST] <<SYS>>\nt\n<</SYS>>\n[/INST]\nx:F"
	if err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestCompile_Refused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, template, want string }{
		{"open if", "a\n{% if true %}\nb", "line 2: the block if is not closed"},
		{"open tag", "a\n\n{{ messages ", "line 3: a tag is not closed"},
		{"stray end", "{% endfor %}", "line 1: endfor closes nothing"},
		{"wrong end", "{% for m in messages %}\n{% endif %}", "line 2: endif closes nothing"},
		{"bad expression", "x\n{{ messages[ }}", "line 2"},
		{"two expressions", "x\n{{ messages messages }}", "line 2"},
		{"unknown statement", "x\n{% include 'passwd' %}", "line 2"},
		{"unknown filter", "x\n\n{{ messages | nosuch }}", "line 3"},
		{"raw", "\n{% raw %}{% endraw %}", "line 2: the block raw is not supported"},
		{"plus", "\n{%+ if true %}{% endif %}", "line 2: a + beside"},
		{"too deep", strings.Repeat("{% if true %}", 101) + strings.Repeat("{% endif %}", 101), "line 1: blocks are nested"},
		{"too long", strings.Repeat("a", chattemplate.MaxSource+1), "more than"},
		{"open set", "{% set a %}b", "line 1: the block set is not closed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := chattemplate.Compile(tt.template, tokens); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestCompile_Bounds: a run ends whatever the template does.
func TestCompile_Bounds(t *testing.T) {
	t.Parallel()
	const in = "{% if messages|length == 3 %}"
	turns := []llm.Turn{{Role: "user", Content: "a"}, {Role: "user", Content: "b"}, {Role: "user", Content: "c"}}
	for _, tt := range []struct {
		name, template string
		want           []error
	}{
		{"loops in loops", in + strings.Repeat("{% for i in range(1000) %}", 4) + strings.Repeat("{% endfor %}", 4) + "{% endif %}", []error{chattemplate.ErrSteps, chattemplate.ErrTime}},
		{"a long range", in + "{% for i in range(1000000000) %}x{% endfor %}{% endif %}", []error{chattemplate.ErrSteps}},
		{"a macro that calls itself", "{% macro f() %}{{ f() }}{% endmacro %}" + in + "{{ f() }}{% endif %}", []error{chattemplate.ErrSteps}},
		{"a text that doubles", in + "{% set ns = namespace(s='abcdefgh') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{% endif %}", []error{chattemplate.ErrOutput}},
		{"much output", in + "{% set s = 'abcdefgh' * 100000 %}{% for i in range(1000) %}{{ s }}{% endfor %}{% endif %}", []error{chattemplate.ErrOutput, chattemplate.ErrTime}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tpl, err := chattemplate.Compile(tt.template, tokens)
			if err != nil {
				t.Fatal(err)
			}
			_, err = tpl.Render(turns)
			for _, want := range tt.want {
				if errors.Is(err, want) {
					return
				}
			}
			t.Errorf("got %v, want one of %v", err, tt.want)
		})
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{"{{ messages }}", "{% for m in messages %}{{ m }} {% endfor %}", "{% raw %}{{{% endraw -%} {#-", "{%- set a = 'b' -%} {{- a -}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		tpl, err := chattemplate.Compile(source, tokens)
		if err != nil {
			return
		}
		if _, err := tpl.Render([]llm.Turn{{Role: "user", Content: "a"}, {Role: "assistant", Content: "b"}}); err != nil && err.Error() == "" {
			t.Error("an error without a text")
		}
	})
}
