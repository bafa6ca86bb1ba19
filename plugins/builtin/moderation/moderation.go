// Package moderation is the guardrail that asks OpenAI's moderation endpoint, or another server of it.
package moderation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/service"
	"github.com/conclave-llm/conclave/plugins/builtin/verdict"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// most is how many texts one request has.
const most = 32

// categories are those of omni-moderation-latest.
var categories = []string{
	"harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
	"self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
}

// Config is the configuration of the guardrail.
type Config struct {
	service.Config
	verdict.Terms
	// Thresholds are the scores from which on categories count; about one without it is OpenAI's own judgement.
	verdict.Thresholds
	Model string `json:"model,omitempty"` // default omni-moderation-latest
	// ThroughGateway asks a model of the gateway, with its deployments and their keys; the request that is
	// judged pays. api_base is then left out.
	ThroughGateway bool `json:"through_gateway,omitempty"`
}

// Moderation is the guardrail.
type Moderation struct {
	cfg    Config
	sender *service.Sender // nil: through the gateway
}

// Configure implements sdk.Guardrail.
func (g *Moderation) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	cfg := Config{Model: "omni-moderation-latest"}
	err := verdict.Read(s.Config, &cfg)
	if err == nil {
		err = cfg.Terms.Validate("the text violates the policy on harmful content", scan.Mask)
	}
	if err == nil {
		err = cfg.Thresholds.Validate(categories)
	}
	switch {
	case err != nil:
	case !cfg.ThroughGateway:
		g.sender, err = service.New(cfg.Config, "https://api.openai.com/v1")
	case cfg.APIBase != "" || cfg.APIKey != "":
		err = errors.New("through_gateway: leave api_base and api_key out: the model's deployments have them")
	}
	g.cfg = cfg
	return service.Described(), err
}

type answer struct {
	Results []result `json:"results"`
}

// result is what is said of one text.
type result struct {
	Flagged    *bool              `json:"flagged"`
	Categories map[string]bool    `json:"categories"`
	Scores     map[string]float64 `json:"category_scores"`
}

// Check implements sdk.Guardrail.
func (g *Moderation) Check(ctx context.Context, c *sdk.Check) (sdk.Verdict, error) {
	texts := g.cfg.Texts(c)
	var found service.FoundIn
	err := service.Each(ctx, (len(texts)+most-1)/most, func(ctx context.Context, i int) error {
		return g.ask(ctx, c, texts[i*most:min(len(texts), (i+1)*most)], &found)
	})
	if err != nil {
		return sdk.Verdict{}, err
	}
	return found.Decide(&g.cfg.Terms), nil
}

// post asks about texts.
func (g *Moderation) post(ctx context.Context, c *sdk.Check, texts []string) (out answer, err error) {
	request := map[string]any{"model": g.cfg.Model, "input": texts}
	if g.sender != nil {
		return out, g.sender.Post(ctx, service.Request{Path: "/moderations", Header: g.sender.Bearer(), Body: request}, &out)
	}
	body, err := json.Marshal(request)
	if err != nil {
		return out, fmt.Errorf("write request: %w", err)
	}
	raw, err := c.Info.Models.Ask(ctx, llm.Moderations.String(), body)
	if err != nil {
		return out, fmt.Errorf("ask the model %s: %w", g.cfg.Model, err)
	}
	if json.Unmarshal(raw, &out) != nil {
		return out, service.ErrIncomplete
	}
	return out, nil
}

// ask asks about the texts at the indexes.
func (g *Moderation) ask(ctx context.Context, c *sdk.Check, at []int, found *service.FoundIn) error {
	texts := make([]string, len(at))
	for i, n := range at {
		texts[i] = c.Texts[n].Text
	}
	out, err := g.post(ctx, c, texts)
	if err != nil {
		return err
	}
	if len(out.Results) != len(texts) {
		return service.ErrIncomplete
	}
	for i := range out.Results {
		if err := g.read(&out.Results[i], found.Text(at[i])); err != nil {
			return err
		}
	}
	return nil
}

// read reads what is said of one text. A category counts from its threshold on, and without one as OpenAI judges.
func (g *Moderation) read(r *result, found *service.Found) error {
	if r.Flagged == nil || !g.cfg.IsZero() && r.Scores == nil {
		return service.ErrIncomplete
	}
	for name, score := range r.Scores {
		if least, ok := g.cfg.Said(name); ok && score >= least {
			found.Add(name, score)
		}
	}
	if !*r.Flagged || g.cfg.Threshold != nil {
		return nil
	}
	named := false // a category is, as the reason
	for name, flagged := range r.Categories {
		named = named || flagged
		if _, ok := g.cfg.Said(name); flagged && !ok {
			found.Add(name, r.Scores[name])
		}
	}
	if !named {
		found.Add("flagged", 1)
	}
	return nil
}
