package litellmguard

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// callbacks are the guardrails among LiteLLM's callbacks, with what litellm_settings say of each.
var callbacks = map[string]func(settings map[string]any) (kind, map[string]any, error){
	"aporia_prompt_injection": plainly("aporia"),
	"azure_content_safety":    azure,
	"banned_keywords": func(map[string]any) (kind, map[string]any, error) {
		return kind{plugin: "keywords"}, map[string]any{"stored": true}, nil
	},
	"detect_prompt_injection": promptInjection,
	"google_text_moderation":  googleModeration,
	"hide_secrets":            plainly("hide_secrets"),
	"lakera_prompt_injection": plainly("lakera"),
	"llamaguard_moderations":  llamaGuard,
	"llmguard_moderations":    plainly("llm_guard"),
	"openai_moderations":      plainly("openai_moderation"),
	"presidio":                plainly("presidio"),
}

// Settings are the keys of litellm_settings that guardrails among callbacks take.
var Settings = []string{
	"azure_content_safety_params", "google_moderation_confidence_threshold", "llamaguard_model_name", "llamaguard_unsafe_content_categories",
	"openai_moderations_model_name", "output_parse_pii", "presidio_language", "prompt_injection_params",
}

// Callback says what a name among LiteLLM's callbacks becomes; false: it is no guardrail.
func Callback(name string, settings map[string]any) (g Guardrail, ok bool, err error) {
	of, ok := callbacks[name]
	if !ok {
		return g, false, nil
	}
	k, params, err := of(settings)
	if err == nil {
		g, err = k.translate(params)
	}
	return g, true, err
}

// plainly is a callback that is the guardrail of that kind, with what the settings say of it.
func plainly(name string) func(map[string]any) (kind, map[string]any, error) {
	return func(settings map[string]any) (kind, map[string]any, error) {
		params := map[string]any{}
		if v, ok := settings["openai_moderations_model_name"]; ok && name == "openai_moderation" {
			params["model"] = v
		}
		for _, field := range []string{"output_parse_pii", "presidio_language"} {
			if v, ok := settings[field]; ok && name == "presidio" {
				params[field] = v
			}
		}
		return kinds[name], params, nil
	}
}

// defAzure is LiteLLM's threshold of Azure's severities.
const defAzure = 4

func azure(settings map[string]any) (kind, map[string]any, error) {
	p, _ := settings["azure_content_safety_params"].(map[string]any)
	params := map[string]any{"severity_threshold": defAzure}
	for _, field := range slices.Sorted(maps.Keys(p)) {
		switch field {
		case "endpoint":
			params["api_base"] = p[field]
		case "key":
			params["api_key"] = p[field]
		case "thresholds":
			params["severity_threshold_by_category"] = p[field]
		default:
			return kind{}, nil, fmt.Errorf("azure_content_safety_params.%s: is not known here", field)
		}
	}
	return kinds["azure/text_moderations"], params, nil
}

func promptInjection(settings map[string]any) (kind, map[string]any, error) {
	p, _ := settings["prompt_injection_params"].(map[string]any)
	for _, field := range slices.Sorted(maps.Keys(p)) {
		on := p[field] == true
		switch field {
		case "heuristics_check", "reject_as_response":
		case "similarity_check": // signs are scored, which takes its place
		case "llm_api_check":
			if on {
				return kind{}, nil, fmt.Errorf("prompt_injection_params.%s: configure the guardrail judge with a model beside it", field)
			}
		default:
			if !strings.HasPrefix(field, "llm_api_") {
				return kind{}, nil, fmt.Errorf("prompt_injection_params.%s: is not known here", field)
			}
		}
	}
	return kind{plugin: "injection"}, nil, nil
}

func googleModeration(settings map[string]any) (kind, map[string]any, error) {
	params := map[string]any{"api_base": "https://language.googleapis.com", "api_key": "os.environ/GOOGLE_API_KEY"}
	if v, ok := settings["google_moderation_confidence_threshold"]; ok {
		params["threshold"] = v
	}
	return kind{plugin: "google_text_moderation", base: "https://language.googleapis.com"}, params, nil
}

func llamaGuard(settings map[string]any) (kind, map[string]any, error) {
	model, _ := settings["llamaguard_model_name"].(string)
	if model == "" {
		return kind{}, nil, fmt.Errorf("llamaguard_model_name: is missing; it is a model of model_list")
	}
	params := map[string]any{"model": model, "form": "llama_guard"}
	if v, ok := settings["llamaguard_unsafe_content_categories"]; ok {
		params["criteria"] = v
	}
	return kind{plugin: "judge"}, params, nil
}
