package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// scoreless says of each shipped guardrail that takes no threshold why, and where the strictness is set instead. One that
// is not here and takes none finds something or not.
var scoreless = map[string]string{
	"aporia":                "Aporia answers an action; how strict it is is set in the project's policies there",
	"azure_prompt_shield":   "Prompt Shields answer yes or no",
	"bedrock_guardrails":    "Bedrock answers an action; filterStrength is set in the guardrail there",
	"generic_guardrail_api": "the service answers an action; what it needs to know goes into additional_provider_specific_params",
	"guardrails_ai":         "a guard passes or fails a text; thresholds are arguments of its validators, on the server",
	"injection":             "the signs have one score together: give threshold, without thresholds",
	"judge":                 "the model answers yes or no; how strict it is is said in criteria",
	"lakera":                "Lakera answers which detectors found something; how strict they are is set in the project's policy",
	"llm_guard":             "each scanner of LLM Guard has a threshold of its own, in the scanners.yml of its API",
	"model_armor":           "confidences are set in the template that template_id names",
	"pangea":                "confidences are set in the recipes that pangea_input_recipe and pangea_output_recipe name",
	"presidio":              "give presidio_score_thresholds, of ALL or by kind",
}

// noThreshold is why a guardrail's configuration may not have the threshold that it has; empty: it has none that is refused.
func noThreshold(kind, name string, schema, config json.RawMessage) string {
	var s jsonschema.Schema
	var members map[string]json.RawMessage
	if kind != "guardrail" || json.Unmarshal(schema, &s) != nil || json.Unmarshal(config, &members) != nil {
		return ""
	}
	for _, m := range []string{"threshold", "thresholds"} {
		if _, is := members[m]; !is || s.Properties[m] != nil {
			continue
		}
		if why, ok := scoreless[name]; ok {
			return m + ": " + why
		}
		return m + ": it finds something or not, without a score"
	}
	return ""
}

// outOfRange is what is wrong with a number that a schema bounds on both sides, and with the names of such numbers where
// it lists them: in words that say what there is. Empty: nothing.
func outOfRange(schema, config json.RawMessage) string {
	var s jsonschema.Schema
	var members map[string]any
	if json.Unmarshal(schema, &s) != nil || json.Unmarshal(config, &members) != nil {
		return ""
	}
	for _, m := range slices.Sorted(maps.Keys(members)) {
		p := s.Properties[m]
		if p == nil {
			continue
		}
		if why := bounds(p, members[m]); why != "" {
			return m + ": " + why
		}
		byName, ok := members[m].(map[string]any)
		if !ok || p.AdditionalProperties == nil {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(byName)) {
			if why := unlisted(p.PropertyNames, name); why != "" {
				return m + "." + name + ": " + why
			}
			if why := bounds(p.AdditionalProperties, byName[name]); why != "" {
				return m + "." + name + ": " + why
			}
		}
	}
	return ""
}

// bounds is why a value is outside of what a schema of numbers allows.
func bounds(s *jsonschema.Schema, value any) string {
	n, ok := value.(float64)
	if !ok || s.Minimum == nil || s.Maximum == nil || n >= *s.Minimum && n <= *s.Maximum {
		return ""
	}
	return fmt.Sprintf("%v is not from %v to %v", n, *s.Minimum, *s.Maximum)
}

// unlisted is why a name is none of those that a schema of names lists.
func unlisted(names *jsonschema.Schema, name string) string {
	if names == nil || len(names.Enum) == 0 || slices.Contains(names.Enum, any(name)) {
		return ""
	}
	listed := make([]string, len(names.Enum))
	for i, n := range names.Enum {
		listed[i] = fmt.Sprintf("%q", n)
	}
	return "there is no such name; there are " + strings.Join(listed, ", ")
}

// known lists the members that a schema has, for who wrote another.
func known(schema json.RawMessage) string {
	var s jsonschema.Schema
	if json.Unmarshal(schema, &s) != nil || len(s.Properties) == 0 {
		return ""
	}
	return "; there are " + strings.Join(slices.Sorted(maps.Keys(s.Properties)), ", ")
}
