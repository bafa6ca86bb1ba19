package google

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/service"
	"github.com/conclave-llm/conclave/plugins/builtin/verdict"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// ArmorConfig is the configuration of Armor.
type ArmorConfig struct {
	service.Config
	Account
	verdict.Terms
	ProjectID  string `json:"project_id"`
	Location   string `json:"location"` // "us-central1"
	TemplateID string `json:"template_id"`
}

// Armor is the guardrail of Model Armor, whose template says what is looked for. What its template
// de-identifies takes the text's place, where nothing else was found.
type Armor struct {
	client
	cfg  ArmorConfig
	path string
}

// Configure implements sdk.Guardrail.
func (g *Armor) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	var cfg ArmorConfig
	err := verdict.Read(s.Config, &cfg)
	if err == nil {
		err = cfg.Validate("the text violates a policy", scan.Mask)
	}
	if err == nil {
		g.client, err = newClient(cfg.Config, &cfg.Account, "https://modelarmor.us-central1.rep.googleapis.com")
	}
	if err == nil {
		err = names(map[string]string{"project_id": cfg.ProjectID, "location": cfg.Location, "template_id": cfg.TemplateID})
	}
	g.cfg = cfg
	g.path = fmt.Sprintf("/v1/projects/%s/locations/%s/templates/%s", cfg.ProjectID, cfg.Location, cfg.TemplateID)
	return service.Described(), err
}

const (
	match   = "MATCH_FOUND"
	noMatch = "NO_MATCH_FOUND"
)

type sanitized struct {
	Result *struct {
		State      string                                `json:"filterMatchState"`
		Invocation string                                `json:"invocationResult"`
		Filters    map[string]map[string]json.RawMessage `json:"filterResults"`
	} `json:"sanitizationResult"`
}

// filter is what one filter says; deidentified is of the one for sensitive data.
type filter struct {
	State   string `json:"matchState"`
	Inspect struct {
		State string `json:"matchState"`
	} `json:"inspectResult"`
	Deidentify struct {
		State string `json:"matchState"`
		Data  struct {
			Text *string `json:"text"`
		} `json:"data"`
	} `json:"deidentifyResult"`
}

// Check implements sdk.Guardrail.
func (g *Armor) Check(ctx context.Context, c *sdk.Check) (sdk.Verdict, error) {
	texts := g.cfg.Texts(c)
	var found service.FoundIn
	var clean service.Rewritten
	err := service.Each(ctx, len(texts), func(ctx context.Context, n int) error {
		text := c.Texts[texts[n]].Text
		body, verb := map[string]any{"userPromptData": map[string]string{"text": text}}, ":sanitizeUserPrompt"
		if c.Hook != sdk.Before {
			body, verb = map[string]any{"modelResponseData": map[string]string{"text": text}}, ":sanitizeModelResponse"
		}
		var out sanitized
		if err := g.post(ctx, g.path+verb, body, &out); err != nil {
			return err
		}
		now, err := judge(&out, found.Text(texts[n]))
		if err == nil && now != nil && *now != text {
			clean.Add(texts[n], *now)
		}
		return err
	})
	if err != nil {
		return sdk.Verdict{}, err
	}
	return found.DecideWith(&g.cfg.Terms, &clean), nil
}

// judge reads what the filters say. now is the text without sensitive data, nil if there is none.
func judge(out *sanitized, found *service.Found) (now *string, err error) {
	r := out.Result
	if r == nil || r.State != match && r.State != noMatch || r.Invocation != "SUCCESS" {
		return nil, service.ErrIncomplete // a filter that did not run is no verdict
	}
	if r.State == noMatch {
		return nil, nil //nolint:nilnil // nothing was found, and nothing changed
	}
	known := false
	for _, name := range slices.Sorted(maps.Keys(r.Filters)) {
		for _, raw := range r.Filters[name] {
			var f filter
			if err := json.Unmarshal(raw, &f); err != nil {
				return nil, service.ErrIncomplete
			}
			switch {
			case f.Deidentify.State == match && f.Deidentify.Data.Text != nil && f.Inspect.State != match:
				now, known = f.Deidentify.Data.Text, true
			case f.State == match, f.Inspect.State == match, f.Deidentify.State == match:
				found.Add(name, 0)
				known = true
			}
		}
	}
	if !known {
		found.Add("match", 0)
	}
	return now, nil
}
