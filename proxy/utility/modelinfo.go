package utility

import (
	"encoding/json"
	"math/big"
	"strings"

	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/resource"
)

// ModelInfo is what is known of a model, in LiteLLM's fields: what the price list says of the deployment's,
// and over it the deployment's own metadata. Costs are US dollars a token.
func ModelInfo(d *resource.Deployment, name string, known *pricing.Entry, params []string) map[string]any {
	out := map[string]any{
		"key": d.Provider + "/" + name, "litellm_provider": d.Provider, "mode": "chat", "supported_openai_params": params,
		"max_tokens": nil, "max_input_tokens": nil, "max_output_tokens": nil, "input_cost_per_token": nil, "output_cost_per_token": nil,
		"cache_read_input_token_cost": nil, "cache_creation_input_token_cost": nil, "output_cost_per_reasoning_token": nil,
	}
	if known != nil {
		if known.Mode != "" {
			out["mode"] = known.Mode
		}
		size(out, "max_input_tokens", known.MaxInput)
		size(out, "max_output_tokens", known.MaxOutput)
		size(out, "max_tokens", known.MaxOutput)
		costs(out, known.Price)
	}
	own := map[string]any{}
	if len(d.Metadata) > 0 {
		_ = json.Unmarshal(d.Metadata, &own) // Validate saw to it that it is an object
	}
	for field, v := range own {
		if _, ok := out[field]; ok && field != "key" && field != "litellm_provider" || strings.HasPrefix(field, "supports_") {
			out[field] = v
		}
	}
	return out
}

func size(out map[string]any, field string, tokens int64) {
	if tokens > 0 {
		out[field] = tokens
	}
}

func costs(out map[string]any, p *resource.Price) {
	if p == nil {
		return
	}
	out["input_cost_per_token"], out["output_cost_per_token"] = perToken(p.Input), perToken(p.Output)
	for field, m := range map[string]*resource.Money{
		"cache_read_input_token_cost": p.CacheRead, "cache_creation_input_token_cost": p.CacheWrite, "output_cost_per_reasoning_token": p.Reasoning,
	} {
		if m != nil {
			out[field] = perToken(*m)
		}
	}
}

// perToken gives a price a million tokens as a price a token, exactly.
func perToken(m resource.Money) json.Number {
	text := big.NewRat(int64(m), int64(resource.Dollar)*1_000_000).FloatString(15)
	return json.Number(strings.TrimRight(strings.TrimRight(text, "0"), "."))
}
