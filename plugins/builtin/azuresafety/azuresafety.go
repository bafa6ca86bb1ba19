// Package azuresafety holds the guardrails that ask Azure AI Content Safety: one for harmful content, one
// for attacks on the prompt.
package azuresafety

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/service"
	"github.com/conclave-llm/conclave/plugins/builtin/verdict"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

const (
	usual      = "https://NAME.cognitiveservices.azure.com"
	defVersion = "2024-09-01"
	maxChars   = 10_000 // of a text that is analysed
	defSevere  = 2      // 0, 2, 4 or 6
	maxSevere  = 7
)

// categories are those of the text analysis.
var categories = []string{"Hate", "SelfHarm", "Sexual", "Violence"}

// client is how both ask.
type client struct {
	sender  *service.Sender
	version string
}

func (c *client) post(ctx context.Context, verb string, body, out any) error {
	return c.sender.Post(ctx, service.Request{
		Path: "/contentsafety/text:" + verb, Query: url.Values{"api-version": {c.version}},
		Header: map[string]string{"Ocp-Apim-Subscription-Key": c.sender.Key().Reveal()}, Body: body,
	}, out)
}

// Config is the configuration of Content.
type Config struct {
	service.Config
	verdict.Terms
	APIVersion string `json:"api_version,omitempty"` // default 2024-09-01
	// Severity is from which severity on, 0 to 7, a category counts. Default 2.
	Severity *int `json:"severity_threshold,omitempty"`
	// ByCategory are the severities of some categories: Hate, SelfHarm, Sexual, Violence.
	ByCategory map[string]int `json:"severity_threshold_by_category,omitempty"`
	// Thresholds say the same from 0 to 1, which is severity 7, in the place of both.
	verdict.Thresholds
	Blocklists []string `json:"blocklists,omitempty"` // names of the resource's own lists of words
}

// Content is the guardrail for harmful content.
type Content struct {
	client
	cfg Config
}

// Configure implements sdk.Guardrail.
func (g *Content) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	cfg := Config{APIVersion: defVersion}
	err := verdict.Read(s.Config, &cfg)
	if err == nil {
		err = cfg.Terms.Validate("the text violates the policy on harmful content", scan.Mask)
	}
	if err == nil {
		err = cfg.severities()
	}
	if err == nil {
		g.sender, err = service.New(cfg.Config, usual)
	}
	g.cfg, g.version = cfg, cfg.APIVersion
	return service.Described(), err
}

func (c *Config) severities() error {
	if err := c.Thresholds.Validate(categories); err != nil {
		return err
	}
	if !c.IsZero() && (c.Severity != nil || len(c.ByCategory) > 0) {
		return errors.New("give threshold and thresholds, or severity_threshold and severity_threshold_by_category, not both")
	}
	if c.Severity != nil && (*c.Severity < 0 || *c.Severity > maxSevere) {
		return fmt.Errorf("severity_threshold: is not from 0 to %d", maxSevere)
	}
	for _, name := range slices.Sorted(maps.Keys(c.ByCategory)) {
		if !slices.Contains(categories, name) {
			return fmt.Errorf("severity_threshold_by_category.%s: there is no such category; there are %s", name, strings.Join(categories, ", "))
		}
		if v := c.ByCategory[name]; v < 0 || v > maxSevere {
			return fmt.Errorf("severity_threshold_by_category.%s: %d is not from 0 to %d", name, v, maxSevere)
		}
	}
	return nil
}

// counts says whether a category counts from the severity on.
func (c *Config) counts(category string, severity int) bool {
	if least, ok := c.Said(category); ok {
		return float64(severity)/maxSevere >= least
	}
	if least, ok := c.ByCategory[category]; ok {
		return severity >= least
	}
	if c.Severity != nil {
		return severity >= *c.Severity
	}
	return severity >= defSevere
}

type analysis struct {
	Categories []struct {
		Category string `json:"category"`
		Severity *int   `json:"severity"`
	} `json:"categoriesAnalysis"`
	Blocklists []struct {
		Name string `json:"blocklistName"`
	} `json:"blocklistsMatch"`
}

// Check implements sdk.Guardrail.
func (g *Content) Check(ctx context.Context, c *sdk.Check) (sdk.Verdict, error) {
	return service.Judge(ctx, &g.cfg.Terms, c, maxChars, g.ask)
}

func (g *Content) ask(ctx context.Context, text string, found *service.Found) error {
	body := map[string]any{"text": text, "categories": categories, "outputType": "EightSeverityLevels"}
	if len(g.cfg.Blocklists) > 0 {
		body["blocklistNames"] = g.cfg.Blocklists
	}
	var out analysis
	if err := g.post(ctx, "analyze", body, &out); err != nil {
		return err
	}
	if len(out.Categories) < len(categories) {
		return service.ErrIncomplete
	}
	for _, c := range out.Categories {
		if c.Severity == nil {
			return service.ErrIncomplete
		}
		if g.cfg.counts(c.Category, *c.Severity) {
			found.Add(c.Category, float64(*c.Severity)/maxSevere)
		}
	}
	for _, b := range out.Blocklists {
		found.Add("blocklist "+b.Name, 1)
	}
	return nil
}
