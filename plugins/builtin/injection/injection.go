// Package injection is the guardrail that looks for attempts to make a model forget its instructions.
// It knows patterns of such attempts, not their meaning: it scores signs, and errs like every heuristic.
package injection

import (
	"context"
	"slices"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/verdict"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// defThreshold is the score from which on a text counts: one strong sign, or two weak ones.
const defThreshold = 0.7

// Config is the configuration of the guardrail.
type Config struct {
	verdict.Terms
	Threshold float64 `json:"threshold,omitempty"` // of the signs together; default 0.7
	// Answers also looks at answers, which is for those of tools: what a web page tells the model to do.
	// A stream is then held to its end.
	Answers bool `json:"answers,omitempty"`
}

// Injection is the guardrail.
type Injection struct {
	cfg   Config
	signs []sign
}

// Configure implements sdk.Guardrail.
func (g *Injection) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	cfg := Config{Threshold: defThreshold, Terms: verdict.Terms{Roles: []string{"user", "tool", "function"}}}
	if err := verdict.Read(s.Config, &cfg); err != nil {
		return sdk.GuardrailDescription{}, err
	}
	if err := cfg.Validate("the text looks like an attempt to change the instructions of the model", scan.Mask); err != nil {
		return sdk.GuardrailDescription{}, err
	}
	if err := (&verdict.Thresholds{Threshold: &cfg.Threshold}).Validate(nil); err != nil {
		return sdk.GuardrailDescription{}, err
	}
	g.cfg, g.signs = cfg, signs()
	d := sdk.GuardrailDescription{Version: scan.Version, Hooks: []sdk.Hook{sdk.Before}}
	if cfg.Answers {
		d.Hooks = append(d.Hooks, sdk.After)
	}
	return d, nil
}

// Check implements sdk.Guardrail. The worst text decides: signs of different texts are not added up. With the
// action mask each text is masked that is bad enough.
func (g *Injection) Check(ctx context.Context, c *sdk.Check) (sdk.Verdict, error) {
	var worst []sdk.Finding
	var masked []sdk.Replacement
	score := 0.0
	for _, i := range g.cfg.Texts(c) {
		if ctx.Err() != nil {
			return sdk.Verdict{}, ctx.Err()
		}
		found, s := g.weigh(c.Texts[i].Text)
		if s > score {
			worst, score = found, s
		}
		if s >= g.cfg.Threshold && len(found) > 0 {
			masked = append(masked, sdk.Replacement{Index: i, Text: verdict.Masked})
		}
	}
	if score < g.cfg.Threshold {
		v := sdk.Pass()
		v.Findings = worst
		return v, nil
	}
	if g.cfg.Action == scan.Mask && len(masked) > 0 {
		v := sdk.Rewrite(masked...)
		v.Findings = worst
		return v, nil
	}
	return g.cfg.Decide(worst), nil
}

// weigh scores a text: signs are taken for independent of each other.
func (g *Injection) weigh(text string) (found []sdk.Finding, score float64) {
	plain, hidden := normal(text)
	innocent := 1.0
	note := func(category string, weight float64) {
		if slices.ContainsFunc(found, func(f sdk.Finding) bool { return f.Category == category }) {
			return
		}
		innocent *= 1 - weight
		found = append(found, sdk.Finding{Category: category, Score: weight})
	}
	if hidden {
		note("hidden_characters", 0.7)
	}
	for i := range g.signs {
		s := &g.signs[i]
		in := plain
		if s.raw {
			in = text
		}
		if s.in(in) {
			note(s.category, s.weight)
		}
	}
	for _, inner := range encoded(text) {
		plain, _ := normal(inner)
		if slices.ContainsFunc(g.signs, func(s sign) bool { return !s.raw && s.weight >= 0.5 && s.in(plain) }) {
			note("encoded_instructions", 0.8)
			break
		}
	}
	return found, 1 - innocent
}
