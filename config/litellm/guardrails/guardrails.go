// Package guardrails says which plugin and which configuration an entry of LiteLLM's list of guardrails
// becomes, or a guardrail among its callbacks. What has no likeness here is refused, never left out.
package guardrails

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// serviceDeadline is how long a guardrail that asks somebody may take, where the entry says nothing.
const serviceDeadline = 10 * time.Second

// Guardrail is what an entry becomes.
type Guardrail struct {
	Plugin   string
	Config   map[string]any
	Deadline time.Duration // 0: the record's default
	Pass     bool          // on_error is pass
	Name     string        // of a callback's guardrail; "": the callback's
	Optional bool          // asked only about requests that choose it, or whose keys do
}

// kind is one row: a kind of LiteLLM's guardrails.
type kind struct {
	plugin string
	base   string            // of the service; "": it has none that everybody uses
	from   string            // variable of the base, if base is ""
	key    string            // variable of the key; "": it has none
	rename map[string]string // LiteLLM's parameter to the plugin's
	drop   []string          // parameters that say what is so anyway
	edit   func(c map[string]any) error
}

// kinds are LiteLLM's names.
var kinds = map[string]kind{
	"aporia":              {plugin: "aporia", from: "APORIA_API_BASE", key: "APORIA_API_KEY"},
	"azure/prompt_shield": {plugin: "azure_prompt_shield", from: "AZURE_CONTENT_SAFETY_ENDPOINT", key: "AZURE_CONTENT_SAFETY_KEY"},
	"azure/text_moderations": {
		plugin: "azure_content_safety", from: "AZURE_CONTENT_SAFETY_ENDPOINT", key: "AZURE_CONTENT_SAFETY_KEY",
		rename: map[string]string{"blocklistNames": "blocklists"}, drop: []string{"categories", "outputType", "haltOnBlocklistHit"},
	},
	"bedrock": {
		plugin: "bedrock_guardrails", rename: map[string]string{"aws_bedrock_runtime_endpoint": "api_base"},
		drop: []string{"mask_request_content", "mask_response_content"}, edit: bedrock,
	},
	"generic_guardrail_api": {plugin: "generic_guardrail_api", from: "GENERIC_GUARDRAIL_API_BASE"},
	"guardrails_ai":         {plugin: "guardrails_ai", base: "http://0.0.0.0:8000"},
	"hide-secrets":          {plugin: "secrets"},
	"hide_secrets":          {plugin: "secrets"},
	"lakera":                {plugin: "lakera", base: "https://api.lakera.ai", key: "LAKERA_API_KEY", edit: lakera},
	"lakera_v2": {
		plugin: "lakera", base: "https://api.lakera.ai", key: "LAKERA_API_KEY", drop: []string{"payload", "breakdown", "dev_info", "metadata"}, edit: lakera,
	},
	"litellm_content_filter": {plugin: "patterns", edit: contentFilter},
	"llm_guard":              {plugin: "llm_guard", from: "LLM_GUARD_API_BASE"},
	"model_armor": {
		plugin: "model_armor", rename: map[string]string{"api_endpoint": "api_base"},
		drop: []string{"mask_request_content", "mask_response_content"}, edit: modelArmor,
	},
	"openai_moderation": {plugin: "openai_moderation", base: "https://api.openai.com/v1", key: "OPENAI_API_KEY", drop: []string{"streaming_sampling_rate"}},
	"pangea":            {plugin: "pangea", base: "https://ai-guard.aws.us.pangea.cloud", key: "PANGEA_API_KEY"},
	"presidio": {
		plugin: "presidio", from: "PRESIDIO_ANALYZER_API_BASE", edit: presidio,
		rename: map[string]string{"presidio_analyzer_api_base": "api_base", "default_language": "presidio_language"},
	},
}

// services are the plugins that ask somebody, for whom a second is short.
func (k *kind) asks() bool {
	return k.base != "" || k.from != "" || k.plugin == "bedrock_guardrails" || k.plugin == "model_armor" || k.plugin == "judge"
}

// Translate says what an entry of the kind with the parameters becomes; parameters that have a field of
// every guardrail (mode, default_on) are not among them. A kind that LiteLLM does not have is the name of a
// plugin, which takes the parameters as they are.
func Translate(name string, params map[string]any) (Guardrail, error) {
	k, ok := kinds[name]
	if !ok {
		return Guardrail{Plugin: name, Config: params}, nil
	}
	return k.translate(params)
}

func (k *kind) translate(params map[string]any) (Guardrail, error) {
	g := Guardrail{Plugin: k.plugin, Config: maps.Clone(params)}
	c := g.Config
	if c == nil {
		c = map[string]any{}
		g.Config = c
	}
	if err := common(&g); err != nil {
		return g, err
	}
	for _, theirs := range slices.Sorted(maps.Keys(k.rename)) {
		if v, ok := c[theirs]; ok {
			delete(c, theirs)
			if _, twice := c[k.rename[theirs]]; !twice {
				c[k.rename[theirs]] = v
			}
		}
	}
	for _, theirs := range k.drop {
		delete(c, theirs)
	}
	base := k.base
	if k.from != "" {
		base = "os.environ/" + k.from
	}
	orElse(c, "api_base", base)
	if k.key != "" {
		orElse(c, "api_key", "os.environ/"+k.key)
	}
	if g.Deadline == 0 && k.asks() {
		g.Deadline = serviceDeadline
	}
	if k.edit == nil {
		return g, nil
	}
	return g, k.edit(c)
}

// common takes what LiteLLM's guardrails have in common.
func common(g *Guardrail) error {
	c := g.Config
	if v, ok := c["timeout"]; ok {
		seconds, is := v.(float64)
		if !is || seconds <= 0 {
			return errors.New("timeout: is not a number of seconds")
		}
		g.Deadline = time.Duration(seconds * float64(time.Second))
		delete(c, "timeout")
	}
	for theirs, ours := range map[string]string{"num_retries": "retries", "violation_message_template": "message"} {
		if v, ok := c[theirs]; ok {
			c[ours] = v
			delete(c, theirs)
		}
	}
	if v, ok := c["fail_on_error"]; ok {
		g.Pass = v == false
		delete(c, "fail_on_error")
	}
	return nil
}

func orElse(c map[string]any, name, value string) {
	if _, ok := c[name]; !ok && value != "" {
		c[name] = value
	}
}

// bedrock knows where Bedrock is by its region.
func bedrock(c map[string]any) error {
	region, _ := c["aws_region_name"].(string)
	if _, ok := c["api_base"]; ok {
		return nil
	}
	if region == "" || strings.HasPrefix(region, "os.environ/") {
		return errors.New("aws_region_name: give the region itself, or aws_bedrock_runtime_endpoint")
	}
	c["api_base"] = "https://bedrock-runtime." + region + ".amazonaws.com"
	return nil
}

func lakera(c map[string]any) error {
	v, ok := c["on_flagged"]
	if !ok {
		return nil
	}
	delete(c, "on_flagged")
	switch v {
	case "block":
	case "monitor":
		c["action"] = "flag"
	default:
		return fmt.Errorf("on_flagged: %v is not one of block, monitor", v)
	}
	return nil
}

func modelArmor(c map[string]any) error {
	location, _ := c["location"].(string)
	if location == "" {
		location = "us-central1"
		c["location"] = location
	}
	orElse(c, "api_base", "https://modelarmor."+location+".rep.googleapis.com")
	switch key := c["credentials"].(type) {
	case map[string]any:
		c["service_account"] = key
		delete(c, "credentials")
	case string:
		if !strings.HasPrefix(key, "os.environ/") {
			return errors.New("credentials: put the key file's JSON into a variable, and name that: os.environ/NAME")
		}
		c["service_account"] = key
		delete(c, "credentials")
	}
	return nil
}

// presidio masks by itself where answers are to be restored, and looks for personal data as presidio_run_on
// or presidio_filter_scope say.
func presidio(c map[string]any) error {
	if c["output_parse_pii"] == true {
		delete(c, "presidio_anonymizer_api_base")
		orElse(c, "presidio_filter_scope", "input")
	} else {
		orElse(c, "presidio_anonymizer_api_base", "os.environ/PRESIDIO_ANONYMIZER_API_BASE")
	}
	if v, ok := c["presidio_ad_hoc_recognizers"]; ok {
		if _, path := v.(string); path {
			return errors.New("presidio_ad_hoc_recognizers: give the recognizers themselves, not the path of a file")
		}
	}
	return nil
}
