package dotprompt_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/config/dotprompt"
	"github.com/conclave-llm/conclave/resource"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, src string
		want      resource.PromptVersion
	}{
		{"no front matter", "Hello {{name}}\n", resource.PromptVersion{Messages: []resource.PromptMessage{{Role: "user", Content: "Hello {{name}}"}}}},
		{
			"LiteLLM's",
			"---\nmodel: gpt-4\ntemperature: 0.7\nmax_tokens: 150\ninput:\n  schema:\n    text: string\n---\nSystem: You are terse.\n\nUser: {{text}}\nmore\nAssistant: ok\n",
			resource.PromptVersion{
				Model: "gpt-4", Parameters: json.RawMessage(`{"max_tokens":150,"temperature":0.7}`),
				Messages: []resource.PromptMessage{{Role: "system", Content: "You are terse."}, {Role: "user", Content: "{{text}}\nmore"}, {Role: "assistant", Content: "ok"}},
			},
		},
		{
			"Google's",
			"---\nmodel: googleai/gemini-2.5-flash\nconfig:\n  maxOutputTokens: 9\n  stopSequences: [x]\ninput:\n  default:\n    style: dry\noutput:\n  format: json\next.own: 1\n---\n{{role \"system\"}}\nBe {{{style}}}.{{! not said }}\n{{role 'model'}}Yes.\n{{role \"user\"}}{{q}}\n{{history}}\n",
			resource.PromptVersion{
				Model: "googleai/gemini-2.5-flash", Parameters: json.RawMessage(`{"max_tokens":9,"response_format":{"type":"json_object"},"stop":["x"]}`), Defaults: json.RawMessage(`{"style":"dry"}`),
				Messages: []resource.PromptMessage{{Role: "system", Content: "Be {{style}}."}, {Role: "assistant", Content: "Yes."}, {Role: "user", Content: "{{q}}"}},
			},
		},
		{
			"a schema", "---\r\noutput: {schema: {type: object, properties: {a: {type: string}}}}\r\n---\r\nx",
			resource.PromptVersion{
				Parameters: json.RawMessage(`{"response_format":{"json_schema":{"name":"output","schema":{"properties":{"a":{"type":"string"}},"type":"object"}},"type":"json_schema"}}`),
				Messages:   []resource.PromptMessage{{Role: "user", Content: "x"}},
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := dotprompt.Parse([]byte(tt.src))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(&tt.want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			text, err := dotprompt.Format(got)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := dotprompt.Parse([]byte(text)); err != nil || cmp.Diff(got, again) != "" {
				t.Errorf("written as\n%s\nand read: %v\n%s", text, err, cmp.Diff(got, again))
			}
			p := &resource.Prompt{Name: "p", Versions: []resource.PromptVersion{*got}}
			p.Canonicalize()
			if err := p.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestParse_Refused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ src, want string }{
		{"---\nmodel: m\n---\nUser: a\n\n{{#each xs}}b{{/each}}", "line 6: {{#each xs}}"},
		{"a\n{% if x %}", "line 2: {% … %}"},
		{"---\nmodel: m\nlogic: 1\n---\nx", `line 3: the front matter's "logic"`},
		{"---\nconfig:\n  apiKey: x\n---\nx", "line 3: config.apiKey"},
		{"---\noutput:\n  schema:\n    a: string\n---\nx", "Picoschema"},
		{"---\noutput:\n  format: xml\n---\nx", "output.format"},
		{"---\nmodel: [1]\n---\nx", "line 2: model"},
		{"---\n: : :\n---\nx", "front matter"},
		{"---\nmodel: m\n---\n\n", "there is no message"},
		{"{{history}} then", "line 1: {{history}} must be the last"},
		{"{{role \"tool\"}}x", `the role "tool"`},
		{"---\n- a\n---\nx", "not an object"},
		{strings.Repeat("a", dotprompt.MaxFile+1), "at most 256 KiB"},
	} {
		if _, err := dotprompt.Parse([]byte(tt.src)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.40q: got %v, want %q", tt.src, err, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"---\nmodel: m\n---\nUser: {{a}}", "{{role \"user\"}}x", "---\n---", "System:\n{{!-- --}}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		v, err := dotprompt.Parse(src)
		if err == nil && len(v.Messages) == 0 {
			t.Error("a prompt without a message")
		}
	})
}
