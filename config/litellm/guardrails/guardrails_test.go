package guardrails_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/config/litellm/guardrails"
	"github.com/conclave-llm/conclave/plugins/schema"
)

func params(t *testing.T, text string) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTranslate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ kind, params, want string }{
		{"keywords", `{"words":["a"]}`, `keywords 0s false {"words":["a"]}`},
		{"mine", `{"timeout":3}`, `mine 0s false {"timeout":3}`},
		{"hide-secrets", `{}`, `secrets 0s false {}`},
		{"openai_moderation", `{"model":"omni-moderation-latest","streaming_sampling_rate":5}`, `openai_moderation 10s false {"api_base":"https://api.openai.com/v1","api_key":"os.environ/OPENAI_API_KEY","model":"omni-moderation-latest"}`},
		{"lakera_v2", `{"api_key":"k","on_flagged":"monitor","breakdown":true,"timeout":2.5,"fail_on_error":false}`, `lakera 2.5s true {"action":"flag","api_base":"https://api.lakera.ai","api_key":"k"}`},
		{"azure/text_moderations", `{"api_base":"https://a","api_key":"k","severity_threshold":2,"violation_message_template":"no"}`, `azure_content_safety 10s false {"api_base":"https://a","api_key":"k","message":"no","severity_threshold":2}`},
		{"bedrock", `{"guardrailIdentifier":"g","guardrailVersion":"1","aws_region_name":"eu-west-1","api_key":"k"}`, `bedrock_guardrails 10s false {"api_base":"https://bedrock-runtime.eu-west-1.amazonaws.com","api_key":"k","aws_region_name":"eu-west-1","guardrailIdentifier":"g","guardrailVersion":"1"}`},
		{"model_armor", `{"project_id":"p","template_id":"t","credentials":{"client_email":"e","private_key":"k","token_uri":"u"}}`, `model_armor 10s false {"api_base":"https://modelarmor.us-central1.rep.googleapis.com","location":"us-central1","project_id":"p","service_account":{"client_email":"e","private_key":"k","token_uri":"u"},"template_id":"t"}`},
		{"model_armor", `{"project_id":"p","location":"l","template_id":"t","credentials":"os.environ/KEY"}`, `model_armor 10s false {"api_base":"https://modelarmor.l.rep.googleapis.com","location":"l","project_id":"p","service_account":"os.environ/KEY","template_id":"t"}`},
		{"presidio", `{"output_parse_pii":true,"pii_entities_config":{"PERSON":"MASK"},"presidio_analyzer_api_base":"http://p"}`, `presidio 10s false {"api_base":"http://p","output_parse_pii":true,"pii_entities_config":{"PERSON":"MASK"},"presidio_filter_scope":"input"}`},
		{"presidio", `{}`, `presidio 10s false {"api_base":"os.environ/PRESIDIO_ANALYZER_API_BASE","presidio_anonymizer_api_base":"os.environ/PRESIDIO_ANONYMIZER_API_BASE"}`},
		{"litellm_content_filter", `{"patterns":[{"pattern_type":"regex","pattern":"x+","name":"xs","action":"MASK"}],"blocked_words":[{"keyword":"a.b","action":"BLOCK"}]}`, `patterns 0s false {"patterns":[{"action":"mask","name":"xs","regex":"x+"},{"action":"block","name":"blocked_word","regex":"(?i)a\\.b"}]}`},
	} {
		g, err := guardrails.Translate(tt.kind, params(t, tt.params))
		b, _ := json.Marshal(g.Config)
		if got := fmt.Sprintf("%s %v %v %s", g.Plugin, g.Deadline, g.Pass, b); err != nil || got != tt.want {
			t.Errorf("%s: got %s, %v, want %s", tt.kind, got, err, tt.want)
		}
		if err := schema.Check(nil, "guardrail", g.Plugin, b); err != nil {
			t.Errorf("%s: %v", tt.kind, err)
		}
	}
	for _, tt := range []struct{ kind, params, want string }{
		{"bedrock", `{}`, "aws_region_name"},
		{"lakera", `{"on_flagged":"x"}`, "on_flagged"},
		{"lakera", `{"timeout":"x"}`, "timeout"},
		{"presidio", `{"presidio_ad_hoc_recognizers":"file.json"}`, "presidio_ad_hoc_recognizers"},
		{"model_armor", `{"credentials":"key.json"}`, "credentials"},
		{"litellm_content_filter", `{}`, "give patterns"},
		{"litellm_content_filter", `{"categories":[]}`, "categories: has no likeness"},
		{"litellm_content_filter", `{"patterns":[{"pattern_type":"prebuilt","pattern_name":"passport_uk"}]}`, `patterns[0]: there is no prebuilt pattern "passport_uk" here; there are amex, `},
	} {
		if _, err := guardrails.Translate(tt.kind, params(t, tt.params)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %s: got %v, want %q", tt.kind, tt.params, err, tt.want)
		}
	}
}

func TestCallback(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, settings, want string }{
		{"langfuse", `{}`, ""},
		{"banned_keywords", `{}`, `keywords 0s {"stored":true}`},
		{"detect_prompt_injection", `{"prompt_injection_params":{"heuristics_check":true}}`, `injection 0s {}`},
		{"llamaguard_moderations", `{"llamaguard_model_name":"lg","llamaguard_unsafe_content_categories":"S1"}`, `judge 10s {"criteria":"S1","form":"llama_guard","model":"lg"}`},
		{"llmguard_moderations", `{}`, `llm_guard 10s {"api_base":"os.environ/LLM_GUARD_API_BASE"}`},
		{"llmguard_moderations", `{"llm_guard_mode":"all"}`, `llm_guard 10s {"api_base":"os.environ/LLM_GUARD_API_BASE"}`},
		{"llmguard_moderations", `{"llm_guard_mode":"key-specific"}`, `enable_llm_guard_check: llm_guard 10s {"api_base":"os.environ/LLM_GUARD_API_BASE"}`},
		{"llmguard_moderations", `{"llm_guard_mode":"request-specific"}`, `enable_llm_guard_check: llm_guard 10s {"api_base":"os.environ/LLM_GUARD_API_BASE"}`},
		{"openai_moderations", `{"llm_guard_mode":"key-specific"}`, `openai_moderation 10s {"api_base":"https://api.openai.com/v1","api_key":"os.environ/OPENAI_API_KEY"}`},
		{"azure_content_safety", `{"azure_content_safety_params":{"endpoint":"https://a","key":"k","thresholds":{"Hate":6}}}`, `azure_content_safety 10s {"api_base":"https://a","api_key":"k","severity_threshold":4,"severity_threshold_by_category":{"Hate":6}}`},
		{"google_text_moderation", `{"google_moderation_confidence_threshold":0.4}`, `google_text_moderation 10s {"api_base":"https://language.googleapis.com","api_key":"os.environ/GOOGLE_API_KEY","threshold":0.4}`},
		{"google_text_moderation", `{"toxic_confidence_threshold":0.1,"death_harm_and_tragedy_confidence_threshold":1}`, `google_text_moderation 10s {"api_base":"https://language.googleapis.com","api_key":"os.environ/GOOGLE_API_KEY","thresholds":{"Death, Harm \u0026 Tragedy":1,"Toxic":0.1}}`},
	} {
		g, ok, err := guardrails.Callback(tt.name, params(t, tt.settings))
		b, _ := json.Marshal(g.Config)
		got := fmt.Sprintf("%s %v %s", g.Plugin, g.Deadline, b)
		if g.Optional {
			got = g.Name + ": " + got
		}
		if !ok {
			got = ""
		}
		if err != nil || got != tt.want {
			t.Errorf("%s: got %s, %v, want %s", tt.name, got, err, tt.want)
		}
		if err := schema.Check(nil, "guardrail", g.Plugin, b); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	for _, tt := range []struct{ name, settings, want string }{
		{"llamaguard_moderations", `{}`, "llamaguard_model_name"},
		{"llamaguard_moderations", `{"llamaguard_model_name":"lg","llamaguard_unsafe_content_categories":" "}`, "llamaguard_unsafe_content_categories"},
		{"detect_prompt_injection", `{"prompt_injection_params":{"llm_api_check":true}}`, "llm_api_check"},
		{"azure_content_safety", `{"azure_content_safety_params":{"x":1}}`, "azure_content_safety_params.x"},
		{"llmguard_moderations", `{"llm_guard_mode":"some"}`, "some is not one of all, key-specific, request-specific"},
		{"google_text_moderation", `{"toxic_confidence_threshold":2}`, "toxic_confidence_threshold: 2 is not a number from 0 to 1"},
		{"google_text_moderation", `{"google_moderation_confidence_threshold":"x"}`, "google_moderation_confidence_threshold: x is not"},
	} {
		if _, ok, err := guardrails.Callback(tt.name, params(t, tt.settings)); !ok || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, %v, want %q", tt.name, ok, err, tt.want)
		}
	}
}

// Every category of Google's text moderation has a threshold of its own.
func TestSetting(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"google_moderation_confidence_threshold": "true", "toxic_confidence_threshold": "true", "war_and_conflict_confidence_threshold": "true",
		"llm_guard_mode": "true", "num_retries": "false", "rude_confidence_threshold": "true there is no such category; there are death_harm_and_tragedy, ",
	} {
		known, err := guardrails.Setting(name)
		got := fmt.Sprint(known)
		if err != nil {
			got += " " + err.Error()
		}
		if !strings.HasPrefix(got, want) || (err == nil) != (got == want) {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}
