package load_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/config/load"
)

func TestParse_environment(t *testing.T) {
	t.Parallel()
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"LOCAL": "from here", "OPENAI_API_KEY": "sk-here-and-now"}[name]
		return v, ok
	}
	src := `
node {
  name       = "a"
  master_key = env("OPENAI_API_KEY")
}

environment {
  OPENAI_API_KEY = env("OPENAI_API_KEY")
  REGION         = "eu"
}

credential "openai" {
  provider = "openai"
  api_key  = env("OPENAI_API_KEY")
}

credential "local" {
  provider = "openai"
  api_key  = env("LOCAL")
}

guardrail "words" {
  plugin = "keywords"
  hooks  = ["before"]
  config = { words = [env("REGION")] }
}
`
	f, err := load.Text("x.hcl", []byte(src), env)
	if err != nil {
		t.Fatal(err)
	}
	r := f.Resources
	for what, tt := range map[string]struct{ got, want string }{
		"the variable":                   {r.Environment["OPENAI_API_KEY"].Reveal(), "sk-here-and-now"},
		"a literal":                      {r.Environment["REGION"].Reveal(), "eu"},
		"a reference":                    {r.Credentials[0].APIKey.Reveal(), "env://OPENAI_API_KEY"},
		"what the file does not declare": {r.Credentials[1].APIKey.Reveal(), "from here"},
		"a plugin's configuration":       {string(r.Guardrails[0].Resource.Config), `{"words":["env://REGION"]}`},
		"the node":                       {f.Node.MasterKey.Reveal(), "sk-here-and-now"},
		"the position":                   {r.EnvironmentAt["REGION"].String(), "x.hcl:9:3"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %q, want %q", what, tt.got, tt.want)
		}
	}
	for name, tt := range map[string]struct{ src, want string }{
		"undefined":            {"credential \"c\" {\n  provider = \"openai\"\n  api_key = env(\"NOWHERE\")\n}", "on x.hcl line 3"},
		"in a plain field":     {"environment {\n  BASE = \"http://x\"\n}\ncredential \"c\" {\n  provider = \"openai\"\n  api_base = env(\"BASE\")\n}", "on x.hcl line 6"},
		"a name of the node's": {"environment {\n  CONCLAVE_X = \"1\"\n}", "on x.hcl line 2"},
		"empty":                {"environment {\n  X = \"\"\n}", "on x.hcl line 2"},
	} {
		_, err := load.Text("x.hcl", []byte(tt.src), env)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error at %s", name, err, tt.want)
		}
	}
}

func TestParse_environmentVariables(t *testing.T) {
	t.Parallel()
	f, err := load.Text("x.yaml", []byte("environment_variables:\n  LANGFUSE_KEY: pk-1\n  EMPTY: \"\"\nmodel_list: []\n"), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Resources.Environment; len(got) != 1 || got["LANGFUSE_KEY"].Reveal() != "pk-1" {
		t.Errorf("got %v, want LANGFUSE_KEY alone", got)
	}
}

func TestParse_undefined(t *testing.T) {
	t.Parallel()
	none := func(string) (string, bool) { return "", false }
	const hcl = `
environment {
  HERE = "x"
}

credential "c" {
  provider = "openai"
  api_key  = "env://%s"
  secrets  = { other = "os.environ/%s" }
}

guardrail "g" {
  plugin = "keywords"
  hooks  = ["before"]
  config = { words = [{ deep = "env://%s" }] }
}

callback "cb" {
  plugin  = "webhook"
  config  = { url = "http://127.0.0.1:1" }
  secrets = { "headers.Authorization" = "env://%s" }
}
`
	const yaml = `
environment_variables:
  HERE: x
model_list:
  - model_name: m
    litellm_params:
      model: openai/gpt-4o
      api_key: env://%s
general_settings:
  master_key: sk-1
guardrails:
  - guardrail_name: g
    litellm_params:
      guardrail: keywords
      mode: pre_call
      words: ["env://%s"]
`
	known := func(name string) bool { return name == "CLUSTER" }
	for name, tt := range map[string]struct {
		file, src string
		names     []any
		known     func(string) bool
		want      []string // "line NAME"; none: it is read
	}{
		"all are there":                   {"x.hcl", hcl, []any{"HERE", "CLUSTER", "HERE", "CLUSTER"}, known, nil},
		"a key":                           {"x.hcl", hcl, []any{"A", "HERE", "HERE", "HERE"}, known, []string{"8 A"}},
		"a secret, in LiteLLM's words":    {"x.hcl", hcl, []any{"HERE", "B", "HERE", "HERE"}, known, []string{"9 B"}},
		"a plugin's configuration":        {"x.hcl", hcl, []any{"HERE", "HERE", "C", "HERE"}, known, []string{"15 C"}},
		"a callback's secret":             {"x.hcl", hcl, []any{"HERE", "HERE", "HERE", "D"}, known, []string{"21 D"}},
		"one name, twice":                 {"x.hcl", hcl, []any{"A", "A", "HERE", "HERE"}, known, []string{"8 A", "9 A"}},
		"the first start of a cluster":    {"x.hcl", hcl, []any{"CLUSTER", "HERE", "HERE", "HERE"}, nil, []string{"8 CLUSTER"}},
		"LiteLLM's file, all there":       {"x.yaml", yaml, []any{"HERE", "CLUSTER"}, known, nil},
		"LiteLLM's file, a key":           {"x.yaml", yaml, []any{"A", "HERE"}, known, []string{"8 A"}},
		"LiteLLM's file, a configuration": {"x.yaml", yaml, []any{"HERE", "A"}, known, []string{"16 A"}},
	} {
		path := filepath.Join(t.TempDir(), tt.file)
		if err := os.WriteFile(path, fmt.Appendf(nil, tt.src, tt.names...), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := load.With(path, none, config.Options{Known: tt.known, IgnoreUnknown: true})
		var got []string
		if e := (*config.Error)(nil); errors.As(err, &e) {
			for _, p := range e.Problems {
				words := strings.Fields(p.Detail)
				got = append(got, fmt.Sprintf("%d %s", p.Line, words[min(2, len(words)-1)]))
			}
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q (%v)", name, got, tt.want, err)
		}
	}
}
