package placeholder_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/resource/placeholder"
)

func TestParse(t *testing.T) {
	t.Parallel()
	values := map[string]string{"a": "1", "b_2": "{{a}}", "c.d": ""}
	for _, tt := range []struct {
		name, text, want string
		names            []string
	}{
		{"no variable", "plain } {", "plain } {", nil},
		{"variables", "{{a}}-{{ b_2 }}{{c.d}}-{{a}}", "1-{{a}}-1", []string{"a", "b_2", "c.d"}},
		{"braces themselves", `\{{a}} {{a}}`, "{{a}} 1", []string{"a"}},
		{"empty", "", "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := placeholder.Parse(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			got, missing := p.Fill(func(name string) (string, bool) { v, ok := values[name]; return v, ok })
			if got != tt.want || missing != "" || !slices.Equal(p.Names(), tt.names) {
				t.Errorf("got %q, missing %q, names %v", got, missing, p.Names())
			}
		})
	}
	p, err := placeholder.Parse("{{a}} {{nobody}}")
	if err != nil {
		t.Fatal(err)
	}
	if got, missing := p.Fill(func(name string) (string, bool) { v, ok := values[name]; return v, ok }); got != "" || missing != "nobody" {
		t.Errorf("got %q, %q", got, missing)
	}
}

func TestParse_Refused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{"a\n\n{{b", "line 3: {{ is not closed"},
		{"\n{{#each x}}", "line 2: {{#each x}} is not the name of a variable"},
		{"{{}}", "line 1"},
		{"{{a b}}", "line 1"},
		{"{{{a}}}", "line 1"},
		{"{{a|safe}}", "line 1"},
		{"{{" + strings.Repeat("a", 129) + "}}", "line 1"},
	} {
		if _, err := placeholder.Parse(tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want %q", tt.text, err, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"{{a}}", `\{{`, "{{{", "}}{{a.b-c}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := placeholder.Parse(text)
		if err != nil {
			return
		}
		// Who puts each variable back gets the text, but for backslashes and blanks.
		got, missing := p.Fill(func(name string) (string, bool) { return "{{" + name + "}}", true })
		if missing != "" {
			t.Errorf("%q: %q is missing", text, missing)
		}
		if strip := strings.NewReplacer(`\`, "", " ", "", "\t", "", "\n", "", "\r", "", "\v", "", "\f", "", "\u0085", "", "\u00a0", ""); !strings.ContainsAny(text, "\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000") && strip.Replace(got) != strip.Replace(text) {
			t.Errorf("%q became %q", text, got)
		}
	})
}
