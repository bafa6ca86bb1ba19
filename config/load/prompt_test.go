package load_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/config/load"
	"github.com/conclave-llm/conclave/resource"
)

func loadText(t *testing.T, name, text string, more map[string]string) (*config.File, error) {
	t.Helper()
	dir := t.TempDir()
	for file, body := range more {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return load.File(path, func(string) (string, bool) { return "sk-1234567890123456", true })
}

func TestLoad_Prompts(t *testing.T) {
	t.Parallel()
	f, err := loadText(t, "c.hcl", nodeText+`}
prompt "support" {
  description  = "d"
  environments = { production = 1 }
  versions = [
    { messages = [{ role = "system", content = "Be {{tone}}." }], parameters = { temperature = 0.5 }, defaults = { tone = "kind" } },
    dotprompt("two.prompt"),
  ]
}
model "m" {
  deployment "d" {
    provider = "hosted_vllm"
    api_base = "http://127.0.0.1:1/v1"

    health_check_model = "small"
    prompt_template {
      jinja     = blob("chat.jinja")
      bos_token = "<s>"
    }
  }
}
`, map[string]string{"two.prompt": "---\nmodel: big\n---\nUser: {{q}}\n", "chat.jinja": "{{ messages }}"})
	if err != nil {
		t.Fatal(err)
	}
	got := f.Resources.Prompts[0].Resource
	if d := cmp.Diff([]resource.PromptMessage{{Role: "user", Content: "{{q}}"}}, got.Versions[1].Messages); d != "" || got.Versions[1].Version != 2 || got.Versions[1].Model != "big" || string(got.Versions[0].Defaults) != `{"tone":"kind"}` {
		t.Errorf("got %+v", got)
	}
	p := f.Resources.Models[0].Deployments[0].Resource.PromptTemplate
	if p == nil || p.BOS != "<s>" || !resource.ValidDigest(p.Jinja) || len(f.Blobs) != 1 || f.Resources.Models[0].Deployments[0].Resource.HealthCheckModel != "small" {
		t.Errorf("got %+v, %d blobs", p, len(f.Blobs))
	}
	const dep = "model \"m\" {\n deployment \"d\" {\n provider = \"hosted_vllm\"\n %s\n }\n}"
	for _, tt := range []struct{ text, want string }{
		{`prompt "p" { versions = [{ messages = [{ role = "user", content = "a\n{{b" }] }] }`, "line 2"},
		{`prompt "p" { versions = [dotprompt("two.prompt")] }`, "two.prompt: line 1: {{#if}}"},
		{`prompt "p" { versions = [{ message = "x" }] }`, "message"},
		{fmt.Sprintf(dep, `prompt_template = { bos_token = "x" }`), "roles or jinja"},
		{fmt.Sprintf(dep, `prompt_template = { roles = { robot = {} } }`), "robot"},
		{fmt.Sprintf(dep, `prompt_template = { jinja = blob("wrong.jinja") }`), "line 3"},
		{fmt.Sprintf(dep, `tls = { ca = blob("wrong.jinja") }`), "tls.ca"},
		{fmt.Sprintf(dep, `metadata = { custom_tokenizer = "org/model" }`), `no encoding "org/model"`},
		{fmt.Sprintf(dep, `metadata = { custom_tokenizer = { blob = blob("wrong.jinja") } }`), "tokenizer.json"},
	} {
		if _, err := loadText(t, "c.hcl", nodeText+"}\n"+tt.text, map[string]string{"two.prompt": "{{#if}}", "wrong.jinja": "a\nb\n{% if %}"}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.text, err, tt.want)
		}
	}
}

func TestLoad_LiteLLMTemplate(t *testing.T) {
	t.Parallel()
	f, err := loadText(t, "c.yaml", `model_list:
- model_name: base
  litellm_params:
    model: text-completion-openai/base
    api_base: http://127.0.0.1:1/v1
    initial_prompt_value: "\n"
    roles: {system: {pre_message: "<|sys|>", post_message: "<|end|>"}, user: {pre_message: "<|u|>"}}
    final_prompt_value: "\n"
    bos_token: "<s>"
    eos_token: "</s>"
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &resource.PromptTemplate{
		Roles: map[string]resource.PromptFrame{"system": {Pre: "<|sys|>", Post: "<|end|>"}, "user": {Pre: "<|u|>"}}, Initial: "\n", Final: "\n", BOS: "<s>", EOS: "</s>",
	}
	if d := cmp.Diff(want, f.Resources.Models[0].Deployments[0].Resource.PromptTemplate); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
