package azuresafety

import (
	"context"

	"github.com/conclave-llm/conclave/plugins/builtin/service"
	"github.com/conclave-llm/conclave/plugins/builtin/verdict"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// ShieldConfig is the configuration of Shield.
type ShieldConfig struct {
	service.Config
	verdict.Terms
	APIVersion string `json:"api_version,omitempty"` // default 2024-09-01
}

// maxDocuments is how many documents one request has.
const maxDocuments = 5

// Shield is the guardrail for attacks on the prompt, by who asks or by what a tool brings.
type Shield struct {
	client
	cfg ShieldConfig
}

// Configure implements sdk.Guardrail.
func (g *Shield) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	cfg := ShieldConfig{APIVersion: defVersion, Terms: verdict.Terms{Roles: []string{"user", "tool", "function"}}}
	err := verdict.Read(s.Config, &cfg)
	if err == nil {
		err = cfg.Validate("the text looks like an attempt to change the instructions of the model")
	}
	if err == nil {
		g.sender, err = service.New(cfg.Config, usual)
	}
	g.cfg, g.version = cfg, cfg.APIVersion
	d := service.Described()
	d.Hooks = []sdk.Hook{sdk.Before}
	return d, err
}

type shielded struct {
	Prompt *struct {
		Attack *bool `json:"attackDetected"`
	} `json:"userPromptAnalysis"`
	Documents []struct {
		Attack *bool `json:"attackDetected"`
	} `json:"documentsAnalysis"`
}

// Check implements sdk.Guardrail.
func (g *Shield) Check(ctx context.Context, c *sdk.Check) (sdk.Verdict, error) {
	var prompts, documents []string
	for _, i := range g.cfg.Texts(c) {
		if r := c.Texts[i].Role; r == "tool" || r == "function" {
			documents = append(documents, c.Texts[i].Text)
		} else {
			prompts = append(prompts, c.Texts[i].Text)
		}
	}
	prompts, documents = service.Pieces(prompts, maxChars), service.Pieces(documents, maxChars/maxDocuments)
	var found service.Found
	err := service.Each(ctx, max(len(prompts), (len(documents)+maxDocuments-1)/maxDocuments), func(ctx context.Context, i int) error {
		prompt := ""
		if i < len(prompts) {
			prompt = prompts[i]
		}
		from := min(len(documents), i*maxDocuments)
		return g.ask(ctx, prompt, documents[from:min(len(documents), from+maxDocuments)], &found)
	})
	if err != nil {
		return sdk.Verdict{}, err
	}
	return g.cfg.Decide(found.All()), nil
}

func (g *Shield) ask(ctx context.Context, prompt string, documents []string, found *service.Found) error {
	var out shielded
	if err := g.post(ctx, "shieldPrompt", map[string]any{"userPrompt": prompt, "documents": append([]string{}, documents...)}, &out); err != nil {
		return err
	}
	if prompt != "" && (out.Prompt == nil || out.Prompt.Attack == nil) || len(out.Documents) != len(documents) {
		return service.ErrIncomplete
	}
	if prompt != "" && *out.Prompt.Attack {
		found.Add("user_prompt_attack", 0)
	}
	for _, d := range out.Documents {
		if d.Attack == nil {
			return service.ErrIncomplete
		}
		if *d.Attack {
			found.Add("document_attack", 0)
		}
	}
	return nil
}
