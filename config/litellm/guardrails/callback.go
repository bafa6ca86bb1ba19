package guardrails

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

// Categories is the setting with the categories of Llama Guard. LiteLLM's file has the path of a file there, and
// Callback is given the file's text.
const Categories = "llamaguard_unsafe_content_categories"

const modeLLMGuard = "llm_guard_mode"

// settings are the keys of litellm_settings that guardrails among callbacks take, beside the thresholds of
// categories.
var settings = []string{
	"azure_content_safety_params", defaultThreshold, "llamaguard_model_name", Categories, modeLLMGuard,
	"openai_moderations_model_name", "output_parse_pii", "presidio_language", "prompt_injection_params",
}

// Setting says whether a key of litellm_settings is one that guardrails among callbacks take. Its error is of a
// threshold for a category that there is not.
func Setting(name string) (bool, error) {
	if slices.Contains(settings, name) {
		return true, nil
	}
	category, ok := strings.CutSuffix(name, categoryThreshold)
	if !ok {
		return false, nil
	}
	if moderated[category] == "" {
		return true, fmt.Errorf("there is no such category; there are %s", strings.Join(slices.Sorted(maps.Keys(moderated)), ", "))
	}
	return true, nil
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
	if err == nil && k.plugin == kinds["llm_guard"].plugin {
		err = g.chosen(settings[modeLLMGuard])
	}
	return g, true, err
}

// chosen says who chooses LLM Guard by the mode. Its name is then that of LiteLLM's permission, by which keys and
// the metadata of requests add it as they do there.
func (g *Guardrail) chosen(mode any) error {
	switch mode {
	case nil, "all":
	case "key-specific", "request-specific":
		g.Name, g.Optional = "enable_llm_guard_check", true
	default:
		return fmt.Errorf("%s: %v is not one of all, key-specific, request-specific", modeLLMGuard, mode)
	}
	return nil
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

// The thresholds of Google's text moderation: of all categories, and of one.
const (
	defaultThreshold  = "google_moderation_confidence_threshold"
	categoryThreshold = "_confidence_threshold"
)

// moderated are LiteLLM's names of the categories of Google's text moderation.
var moderated = map[string]string{
	"toxic": "Toxic", "insult": "Insult", "profanity": "Profanity", "derogatory": "Derogatory", "sexual": "Sexual",
	"death_harm_and_tragedy": "Death, Harm & Tragedy", "violent": "Violent", "firearms_and_weapons": "Firearms & Weapons",
	"public_safety": "Public Safety", "health": "Health", "religion_and_belief": "Religion & Belief", "illicit_drugs": "Illicit Drugs",
	"war_and_conflict": "War & Conflict", "politics": "Politics", "finance": "Finance", "legal": "Legal",
}

func googleModeration(settings map[string]any) (kind, map[string]any, error) {
	params := map[string]any{"api_base": "https://language.googleapis.com", "api_key": "os.environ/GOOGLE_API_KEY"}
	own := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		category, ok := strings.CutSuffix(name, categoryThreshold)
		if !ok || settings[name] == nil {
			continue
		}
		if v, is := settings[name].(float64); !is || v < 0 || v > 1 {
			return kind{}, nil, fmt.Errorf("%s: %v is not a number from 0 to 1", name, settings[name])
		}
		switch {
		case name == defaultThreshold:
			params["threshold"] = settings[name]
		case moderated[category] != "":
			own[moderated[category]] = settings[name]
		}
	}
	if len(own) > 0 {
		params["thresholds"] = own
	}
	return kind{plugin: "google_text_moderation", base: "https://language.googleapis.com"}, params, nil
}

func llamaGuard(settings map[string]any) (kind, map[string]any, error) {
	model, _ := settings["llamaguard_model_name"].(string)
	if model == "" {
		return kind{}, nil, fmt.Errorf("llamaguard_model_name: is missing; it is a model of model_list")
	}
	params := map[string]any{"model": model, "form": "llama_guard"}
	if v, ok := settings[Categories]; ok {
		text, is := v.(string)
		if !is || strings.TrimSpace(text) == "" {
			return kind{}, nil, fmt.Errorf("%s: is not a text of categories, one a line", Categories)
		}
		params["criteria"] = text
	}
	return kind{plugin: "judge"}, params, nil
}
