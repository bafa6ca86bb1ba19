package config_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/config"
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
	f, err := config.Parse("x.hcl", []byte(src), env)
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
		_, err := config.Parse("x.hcl", []byte(tt.src), env)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error at %s", name, err, tt.want)
		}
	}
}

func TestParse_environmentVariables(t *testing.T) {
	t.Parallel()
	f, err := config.Parse("x.yaml", []byte("environment_variables:\n  LANGFUSE_KEY: pk-1\n  EMPTY: \"\"\nmodel_list: []\n"), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Resources.Environment; len(got) != 1 || got["LANGFUSE_KEY"].Reveal() != "pk-1" {
		t.Errorf("got %v, want LANGFUSE_KEY alone", got)
	}
}
