// Package llmguard is the guardrail that asks the API of LLM Guard, whose scanners are configured there. About
// an answer it is asked with the prompt, to which some of them (Relevance, FactualConsistency, LanguageSame) compare it.
package llmguard

import (
	"context"
	"strings"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/service"
	"github.com/conclave-llm/conclave/plugins/builtin/verdict"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Config is the configuration of the guardrail.
type Config struct {
	service.Config
	verdict.Terms
}

// LLMGuard is the guardrail.
type LLMGuard struct {
	cfg    Config
	sender *service.Sender
}

// Configure implements sdk.Guardrail.
func (g *LLMGuard) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	var cfg Config
	err := verdict.Read(s.Config, &cfg)
	if err == nil {
		err = cfg.Validate("the text violates a policy", scan.Mask)
	}
	if err == nil {
		g.sender, err = service.New(cfg.Config, "http://llm-guard:8000")
	}
	g.cfg = cfg
	d := service.Described()
	d.WantsRequest = true
	return d, err
}

type answer struct {
	Valid    *bool              `json:"is_valid"`
	Scanners map[string]float64 `json:"scanners"` // risks, from 0 to 1
	Prompt   *string            `json:"sanitized_prompt"`
	Output   *string            `json:"sanitized_output"`
}

// Check implements sdk.Guardrail. What the service has sanitized takes the text's place.
func (g *LLMGuard) Check(ctx context.Context, c *sdk.Check) (sdk.Verdict, error) {
	texts, prompt := g.cfg.Texts(c), g.prompt(c)
	var rewritten service.Rewritten
	var found service.FoundIn
	err := service.Each(ctx, len(texts), func(ctx context.Context, n int) error {
		text := c.Texts[texts[n]].Text
		clean, err := g.ask(ctx, c.Hook, prompt, text, found.Text(texts[n]))
		if err == nil && clean != text {
			rewritten.Add(texts[n], clean)
		}
		return err
	})
	if err != nil {
		return sdk.Verdict{}, err
	}
	return found.DecideWith(&g.cfg.Terms, &rewritten), nil
}

// prompt is what an answer answers: those texts of the request that the guardrail looks at.
func (g *LLMGuard) prompt(c *sdk.Check) string {
	asked := &sdk.Check{Hook: sdk.Before, Texts: c.Request}
	return strings.Join(service.Strings(&g.cfg.Terms, asked), "\n")
}

// ask asks about one text, of an answer to the prompt, and returns what may stand in its place.
func (g *LLMGuard) ask(ctx context.Context, hook sdk.Hook, prompt, text string, found *service.Found) (string, error) {
	r := service.Request{Path: "/analyze/prompt", Header: g.sender.Bearer(), Body: map[string]string{"prompt": text}}
	if hook != sdk.Before {
		r.Path, r.Body = "/analyze/output", map[string]string{"prompt": prompt, "output": text}
	}
	var out answer
	if err := g.sender.Post(ctx, r, &out); err != nil {
		return "", err
	}
	clean := out.Prompt
	if hook != sdk.Before {
		clean = out.Output
	}
	if out.Valid == nil || clean == nil {
		return "", service.ErrIncomplete
	}
	if *out.Valid {
		return *clean, nil
	}
	worst, risk := "invalid", 0.0
	for name, r := range out.Scanners {
		if r > risk || r == risk && name < worst {
			worst, risk = name, r
		}
	}
	found.Add(worst, risk)
	return text, nil
}
