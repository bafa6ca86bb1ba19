package schema_test

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/conclave-llm/conclave/plugins/builtin"
	"github.com/conclave-llm/conclave/plugins/schema"
	"github.com/conclave-llm/conclave/resource"
)

// Every shipped guardrail takes thresholds that have an effect, or refuses them when they are saved and says why. What it
// takes is from 0 to 1, of categories that there are; who gives another is told which there are.
func TestThresholds(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name      string
		threshold bool   // takes one
		category  string // that it takes one of; empty: of none
		says      string // what who gives one that it does not take is told
	}{
		{"azure_content_safety", true, "Hate", ""},
		{"google_text_moderation", true, "Toxic", ""},
		{"openai_moderation", true, "self-harm/intent", ""},
		{"injection", true, "", "give threshold, without thresholds"},

		{"aporia", false, "", "policies"},
		{"azure_prompt_shield", false, "", "yes or no"},
		{"bedrock_guardrails", false, "", "filterStrength"},
		{"generic_guardrail_api", false, "", "additional_provider_specific_params"},
		{"guardrails_ai", false, "", "validators"},
		{"judge", false, "", "criteria"},
		{"lakera", false, "", "policy"},
		{"llm_guard", false, "", "scanners.yml"},
		{"model_armor", false, "", "template"},
		{"pangea", false, "", "recipes"},
		{"presidio", false, "", "presidio_score_thresholds"},

		{"cel", false, "", "without a score"},
		{"keywords", false, "", "without a score"},
		{"language", false, "", "without a score"},
		{"length", false, "", "without a score"},
		{"patterns", false, "", "without a score"},
		{"pii", false, "", "without a score"},
		{"schema", false, "", "without a score"},
		{"secrets", false, "", "without a score"},
		{"topics", false, "", "without a score"},
	}
	listed := map[string]bool{}
	for _, tt := range rows {
		listed[tt.name] = true
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			refused := func(member string, value any, says string) {
				t.Helper()
				err := check(t, tt.name, member, value)
				if invalid, ok := errors.AsType[*resource.Invalid](err); !ok || invalid.Field != "config" || !strings.Contains(invalid.Reason, says) {
					t.Errorf("%s = %v: %v, want a refusal that says %q", member, value, err, says)
				}
			}
			taken := func(member string, value any) {
				t.Helper()
				if err := check(t, tt.name, member, value); err != nil {
					t.Errorf("%s = %v: %v", member, value, err)
				}
			}
			if !tt.threshold {
				refused("threshold", 0.5, "threshold: ")
				refused("threshold", 0.5, tt.says)
			} else {
				for _, v := range []float64{0, 0.5, 1} {
					taken("threshold", v)
				}
				refused("threshold", 1.5, "threshold: 1.5 is not from 0 to 1")
				refused("threshold", -0.1, "threshold: -0.1 is not from 0 to 1")
				refused("threshold", "0.5", "threshold")
			}
			if tt.category == "" {
				refused("thresholds", map[string]any{"Hate": 0.5}, tt.says)
				return
			}
			taken("thresholds", map[string]any{tt.category: 0.3})
			refused("thresholds", map[string]any{tt.category: 1.5}, tt.category+": 1.5 is not from 0 to 1")
			refused("thresholds", map[string]any{"nosuch": 0.5}, "nosuch")
			refused("thresholds", map[string]any{"nosuch": 0.5}, tt.category)
		})
	}
	for _, p := range builtin.Plugins() {
		if p.Kind == "guardrail" && !listed[p.Name] {
			t.Errorf("%s is not in the table", p.Name)
		}
	}
}

// Two ways to say how severe something must be do not go together.
func TestThresholds_azure(t *testing.T) {
	t.Parallel()
	for _, old := range []string{`"severity_threshold":4`, `"severity_threshold_by_category":{"Hate":4}`} {
		for _, of := range []string{`"threshold":0.5`, `"thresholds":{"Hate":0.5}`} {
			err := schema.Check(nil, "guardrail", "azure_content_safety", json.RawMessage(`{"api_base":"https://a.example","api_key":"x",`+of+`,`+old+`}`))
			if err == nil || !strings.Contains(err.Error(), "not both") {
				t.Errorf("%s with %s: %v, want a refusal that says what to leave out", of, old, err)
			}
		}
	}
}

// check is what is said of the plugin's example with the member.
func check(t *testing.T, name, member string, value any) error {
	t.Helper()
	var s jsonschema.Schema
	if err := json.Unmarshal(schema.Of(nil, "guardrail", name), &s); err != nil {
		t.Fatal(err)
	}
	config := maps.Clone(s.Examples[0].(map[string]any))
	for _, m := range []string{"threshold", "thresholds", "severity_threshold", "severity_threshold_by_category"} {
		delete(config, m)
	}
	if err := fits(t, name, config); err != nil {
		t.Fatalf("the example: %v", err)
	}
	config[member] = value
	return fits(t, name, config)
}

func fits(t *testing.T, name string, config map[string]any) error {
	t.Helper()
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return schema.Check(nil, "guardrail", name, text)
}
