package load_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/config/load"
	"github.com/conclave-llm/conclave/resource"
)

const guardrailsFile = `
model_list: [{model_name: lg, litellm_params: {model: openai/lg, api_key: k}}]
litellm_settings:
  callbacks: [banned_keywords, llamaguard_moderations, file, detect_prompt_injection]
  banned_keywords_list: [Secret Project]
  llamaguard_model_name: lg
guardrails:
  - guardrail_name: logged
    litellm_params: {guardrail: hide-secrets, mode: logging_only, default_on: true}
  - guardrail_name: moderated
    litellm_params: {guardrail: openai_moderation, mode: during_call, api_key: sk-written-out, timeout: 4, unreachable_fallback: fail_open}
  - guardrail_name: people
    litellm_params: {guardrail: presidio, mode: [pre_call, post_call], default_on: true, presidio_analyzer_api_base: "http://presidio:5002", output_parse_pii: true, pii_entities_config: {PERSON: MASK}}
`

func TestParse_LiteLLMGuardrails(t *testing.T) {
	t.Parallel()
	f, err := load.Text("c.yaml", []byte(guardrailsFile), environment)
	if err != nil {
		t.Fatal(err)
	}
	r := &f.Resources
	for i, want := range []resource.Guardrail{
		{Name: "banned_keywords", Plugin: "keywords", DeadlineMS: 1000, Config: json.RawMessage(`{"stored":true}`)},
		{Name: "llamaguard_moderations", Plugin: "judge", DeadlineMS: 10_000, Config: json.RawMessage(`{"form":"llama_guard","model":"lg"}`)},
		{Name: "detect_prompt_injection", Plugin: "injection", DeadlineMS: 1000},
		{Name: "logged", Plugin: "secrets", DeadlineMS: 1000, Mode: resource.ModeLogOnly},
		{
			Name: "moderated", Plugin: "openai_moderation", DeadlineMS: 4000, Optional: true, OnError: resource.OnErrorPass, Hooks: []resource.Hook{resource.HookBefore},
			Config: json.RawMessage(`{"api_base":"https://api.openai.com/v1","api_key":"env://GUARDRAIL_MODERATED_API_KEY"}`),
		},
		{
			Name: "people", Plugin: "presidio", DeadlineMS: 10_000, Hooks: []resource.Hook{resource.HookBefore, resource.HookAfter},
			Config: json.RawMessage(`{"api_base":"http://presidio:5002","output_parse_pii":true,"pii_entities_config":{"PERSON":"MASK"},"presidio_filter_scope":"input"}`),
		},
	} {
		if i >= len(r.Guardrails) {
			t.Fatalf("%d guardrails", len(r.Guardrails))
		}
		g := r.Guardrails[i].Resource
		if g.Name != want.Name || g.Plugin != want.Plugin || g.DeadlineMS != want.DeadlineMS || g.Optional != want.Optional || g.Mode != want.Mode || string(g.Config) != string(want.Config) ||
			len(g.Hooks) != len(want.Hooks) || (g.OnError == resource.OnErrorPass) != (want.OnError == resource.OnErrorPass) {
			t.Errorf("got %+v %s, want %+v %s", g, g.Config, want, want.Config)
		}
	}
	if len(r.Callbacks) != 1 || r.Callbacks[0].Resource.Name != "file" {
		t.Errorf("callbacks: got %+v", r.Callbacks)
	}
	if key := r.Environment["GUARDRAIL_MODERATED_API_KEY"]; key.Reveal() != "sk-written-out" {
		t.Errorf("variables: got %v", r.Environment)
	}
}

// The categories of Llama Guard are in a file beside the configuration, and LLM Guard is chosen by LiteLLM's
// permission.
func TestLoad_LiteLLMGuardrailFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "c.yaml")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "categories.txt"), "O1: Violence.\nO2: Sexual Content.\n")
	write(file, `
model_list: [{model_name: lg, litellm_params: {model: openai/lg, api_key: k}}]
litellm_settings:
  callbacks: [llamaguard_moderations, llmguard_moderations, google_text_moderation]
  llamaguard_model_name: lg
  llamaguard_unsafe_content_categories: categories.txt
  llm_guard_mode: key-specific
  google_moderation_confidence_threshold: 0.4
  toxic_confidence_threshold: 0.1
`)
	f, err := load.File(file, func(name string) (string, bool) {
		if name == "LLM_GUARD_API_BASE" || name == "GOOGLE_API_KEY" { // the plugins read them, by references
			return "set", true
		}
		return environment(name)
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		`llamaguard_moderations false {"criteria":"O1: Violence.\nO2: Sexual Content.","form":"llama_guard","model":"lg"}`,
		`enable_llm_guard_check true {"api_base":"os.environ/LLM_GUARD_API_BASE"}`,
		`google_text_moderation false {"api_base":"https://language.googleapis.com","api_key":"os.environ/GOOGLE_API_KEY","threshold":0.4,"thresholds":{"Toxic":0.1}}`,
	} {
		g := &f.Resources.Guardrails[i].Resource
		if got := fmt.Sprintf("%s %v %s", g.Name, g.Optional, g.Config); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if err := os.Remove(filepath.Join(dir, "categories.txt")); err != nil {
		t.Fatal(err)
	}
	if _, err := load.File(file, environment); err == nil || !strings.Contains(err.Error(), "c.yaml line 6") || !strings.Contains(err.Error(), "categories.txt") {
		t.Errorf("without the file: got %v", err)
	}
}

func TestParse_LiteLLMGuardrailsRefused(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"guardrails: [{guardrail_name: a, litellm_params: {guardrail: bedrock, mode: pre_call}}]":                                               "aws_region_name: give the region itself",
		"guardrails: [{guardrail_name: a, litellm_params: {guardrail: pii, mode: [pre_call, logging_only]}}]":                                   "is not one of during_call, post_call, pre_call",
		"litellm_settings: {callbacks: [llamaguard_moderations]}":                                                                               "llamaguard_model_name: is missing",
		"litellm_settings: {callbacks: [banned_keywords], banned_keywords_list: [a], google_unheard_of: 1}":                                     "google_unheard_of is not known here",
		"litellm_settings: {rude_confidence_threshold: 0.1}":                                                                                    "c.yaml line 1",
		"litellm_settings: {callbacks: [google_text_moderation], rude_confidence_threshold: 0.1}":                                               "there is no such category; there are death_harm_and_tragedy, derogatory",
		"litellm_settings:\n  callbacks: [llmguard_moderations]\n  llm_guard_mode: some":                                                        "llm_guard_mode: some is not one of all, key-specific, request-specific",
		"litellm_settings:\n  callbacks: [llamaguard_moderations]\n  llamaguard_model_name: lg\n  llamaguard_unsafe_content_categories: no.txt": "no such file",
	} {
		if _, err := load.Text("c.yaml", []byte(file), environment); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", file, err, want)
		}
	}
}
