// Package aporia is the guardrail that asks Aporia's guardrails, whose policies belong to a project there.
package aporia

import (
	"context"
	"fmt"
	"slices"

	"github.com/conclave-llm/conclave/plugins/builtin/service"
	"github.com/conclave-llm/conclave/plugins/builtin/verdict"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Config is the configuration of the guardrail.
type Config struct {
	service.Config
	verdict.Terms
}

// Aporia is the guardrail.
type Aporia struct {
	cfg    Config
	sender *service.Sender
}

// Configure implements sdk.Guardrail.
func (g *Aporia) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	var cfg Config
	err := verdict.Read(s.Config, &cfg)
	if err == nil {
		err = cfg.Validate("the text violates a policy")
	}
	if err == nil {
		g.sender, err = service.New(cfg.Config, "https://gr-prd.aporia.com/PROJECT")
	}
	g.cfg = cfg
	d := service.Described()
	d.WantsRequest = true
	return d, err
}

type answer struct {
	Action  string  `json:"action"`
	Revised *string `json:"revised_response"`
}

// Check implements sdk.Guardrail. A request is asked about as a whole, each text of an answer alone. A
// request that would be changed is refused: the service says only what an answer becomes.
func (g *Aporia) Check(ctx context.Context, c *sdk.Check) (sdk.Verdict, error) {
	texts := g.cfg.Texts(c)
	if len(texts) == 0 {
		return sdk.Pass(), nil
	}
	var found service.Found
	if c.Hook == sdk.Before {
		body := map[string]any{"messages": service.Messages(&g.cfg.Terms, c), "validation_target": "prompt"}
		out, err := g.ask(ctx, body)
		if err != nil {
			return sdk.Verdict{}, err
		}
		if out.Action != "passthrough" {
			found.Add(out.Action, 0)
		}
		return g.cfg.Decide(found.All()), nil
	}
	var revised service.Rewritten
	asked := service.Messages(&g.cfg.Terms, &sdk.Check{Hook: sdk.Before, Texts: c.Request}) // some policies compare an answer with them
	err := service.Each(ctx, len(texts), func(ctx context.Context, n int) error {
		text, messages := c.Texts[texts[n]].Text, asked
		if len(messages) == 0 {
			messages = []service.Message{{Role: "assistant", Content: text}}
		}
		out, err := g.ask(ctx, map[string]any{"messages": messages, "response": text, "validation_target": "response"})
		switch {
		case err != nil:
			return err
		case out.Action == "block":
			found.Add("block", 0)
		case out.Action != "passthrough" && out.Revised == nil:
			return service.ErrIncomplete
		case out.Action != "passthrough":
			revised.Add(texts[n], *out.Revised)
		}
		return nil
	})
	if err != nil {
		return sdk.Verdict{}, err
	}
	return service.Decide(&g.cfg.Terms, &found, &revised), nil
}

func (g *Aporia) ask(ctx context.Context, body map[string]any) (answer, error) {
	var out answer
	err := g.sender.Post(ctx, service.Request{
		Path: "/validate", Header: map[string]string{"X-APORIA-API-KEY": g.sender.Key().Reveal()}, Body: body,
	}, &out)
	if err == nil && !slices.Contains([]string{"passthrough", "block", "modify", "rephrase"}, out.Action) {
		err = fmt.Errorf("%w: its action is not one that is known", service.ErrIncomplete)
	}
	return out, err
}
