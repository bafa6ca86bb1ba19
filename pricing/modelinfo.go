package pricing

import (
	"encoding/json"
	"maps"
	"strings"

	"github.com/conclave-llm/conclave/resource"
)

// ModelInfo is what is known of a deployment's model, in LiteLLM's fields of model_info: what the list says of it, nil
// for nothing, and over it the deployment's own metadata. Costs are US dollars a unit; metadata cannot change them, for
// they are those that are charged.
func ModelInfo(d *resource.Deployment, name string, known *Entry) map[string]any {
	out := map[string]any{
		"mode": "chat", "max_tokens": nil, "max_input_tokens": nil, "max_output_tokens": nil, "input_cost_per_token": nil, "output_cost_per_token": nil,
		"cache_read_input_token_cost": nil, "cache_creation_input_token_cost": nil, "output_cost_per_reasoning_token": nil, "deprecation_date": nil,
	}
	if known != nil {
		_, fields := known.MapRow()
		maps.Copy(out, fields)
	}
	own := map[string]any{}
	if len(d.Metadata) > 0 {
		_ = json.Unmarshal(d.Metadata, &own) // Validate saw to it that it is an object
	}
	for field, v := range own {
		if _, ok := out[field]; (ok || strings.HasPrefix(field, "supports_")) && !strings.Contains(field, "cost") {
			out[field] = v
		}
	}
	out["key"], out["litellm_provider"] = d.Provider+"/"+name, d.Provider
	return out
}
