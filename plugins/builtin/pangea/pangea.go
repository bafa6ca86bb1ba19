// Package pangea is the guardrail that asks Pangea's AI Guard, whose recipes say what is looked for.
package pangea

import (
	"context"
	"maps"
	"slices"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/service"
	"github.com/conclave-llm/conclave/plugins/builtin/verdict"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Config is the configuration of the guardrail.
type Config struct {
	service.Config
	verdict.Terms
	InputRecipe  string `json:"pangea_input_recipe,omitempty"`  // default pangea_prompt_guard
	OutputRecipe string `json:"pangea_output_recipe,omitempty"` // default pangea_llm_response_guard
}

// Pangea is the guardrail.
type Pangea struct {
	cfg    Config
	sender *service.Sender
}

// Configure implements sdk.Guardrail.
func (g *Pangea) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	cfg := Config{InputRecipe: "pangea_prompt_guard", OutputRecipe: "pangea_llm_response_guard"}
	err := verdict.Read(s.Config, &cfg)
	if err == nil {
		err = cfg.Validate("the text violates a policy")
	}
	if err == nil {
		g.sender, err = service.New(cfg.Config, "https://ai-guard.aws.us.pangea.cloud")
	}
	g.cfg = cfg
	return service.Described(), err
}

type answer struct {
	Status string  `json:"status"`
	Result *result `json:"result"`
}

type result struct {
	Blocked     *bool             `json:"blocked"`
	Transformed bool              `json:"transformed"`
	Messages    []service.Message `json:"prompt_messages"`
	Detectors   map[string]struct {
		Detected bool `json:"detected"`
	} `json:"detectors"`
}

// Check implements sdk.Guardrail.
func (g *Pangea) Check(ctx context.Context, c *sdk.Check) (sdk.Verdict, error) {
	texts := g.cfg.Texts(c)
	if len(texts) == 0 {
		return sdk.Pass(), nil
	}
	recipe := g.cfg.InputRecipe
	if c.Hook != sdk.Before {
		recipe = g.cfg.OutputRecipe
	}
	var out answer
	body := map[string]any{"recipe": recipe, "messages": service.Messages(&g.cfg.Terms, c)}
	if err := g.sender.Post(ctx, service.Request{Path: "/v1/text/guard", Header: g.sender.Bearer(), Body: body}, &out); err != nil {
		return sdk.Verdict{}, err
	}
	if out.Status != "Success" || out.Result == nil || out.Result.Blocked == nil {
		return sdk.Verdict{}, service.ErrIncomplete
	}
	return g.judge(c, texts, out.Result)
}

// judge reads what the service says of the texts.
func (g *Pangea) judge(c *sdk.Check, texts []int, r *result) (sdk.Verdict, error) {
	if r.Transformed && len(r.Messages) != len(texts) {
		return sdk.Verdict{}, service.ErrIncomplete
	}
	var found service.Found
	for _, name := range slices.Sorted(maps.Keys(r.Detectors)) {
		if r.Detectors[name].Detected {
			found.Add(name, 0)
		}
	}
	if *r.Blocked {
		if len(found.All()) == 0 {
			found.Add("blocked", 0)
		}
		return g.cfg.Decide(found.All()), nil
	}
	v := sdk.Pass()
	if r.Transformed && g.cfg.Action == scan.Block {
		var rs []sdk.Replacement
		for n, m := range r.Messages {
			if m.Content != c.Texts[texts[n]].Text {
				rs = append(rs, sdk.Replacement{Index: texts[n], Text: m.Content})
			}
		}
		if len(rs) > 0 {
			v = sdk.Rewrite(rs...)
		}
	}
	v.Findings = found.All()
	return v, nil
}
