// Package pii is the guardrail that looks for personal data by rules of its own: expressions,
// check digits and words that stand before. What it masks in a request it can restore in the answer.
package pii

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/vault"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// reach is the most bytes that a piece of personal data can have in a stream, less one.
const reach = 127

// Config is the configuration of the guardrail.
type Config struct {
	Action   scan.Action            `json:"action,omitempty"`   // default mask
	Entities map[string]scan.Action `json:"entities,omitempty"` // by kind: {"EMAIL_ADDRESS": "block", "URL": "mask"}
	Only     bool                   `json:"only,omitempty"`     // look only for the kinds that entities names
	Scope    string                 `json:"scope,omitempty"`    // "input", "output" or "both" (default)
	// Restore puts back in the answer what was masked in the request. It goes by placeholders, such as
	// [<EMAIL_ADDRESS_1>], which the model sees.
	Restore bool     `json:"restore,omitempty"`
	Allow   []string `json:"allow,omitempty"` // texts that are not personal: "info@example.com"
}

// PII is the guardrail.
type PII struct {
	scan.Guard
	cfg    Config
	list   []*recogniser
	action map[string]scan.Action
	vaults *vault.Vaults
}

// Configure implements sdk.Guardrail.
func (p *PII) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	cfg := Config{Action: scan.Mask, Scope: "both"}
	if len(s.Config) > 0 {
		if err := json.Unmarshal(s.Config, &cfg, json.RejectUnknownMembers(true)); err != nil {
			return sdk.GuardrailDescription{}, fmt.Errorf("read config: %w", err)
		}
	}
	if err := p.configure(cfg); err != nil {
		return sdk.GuardrailDescription{}, err
	}
	p.vaults = vault.New()
	p.Guard = scan.Guard{Finder: answers{p}, Message: "the text contains personal data"}
	d := sdk.GuardrailDescription{Hooks: []sdk.Hook{sdk.Before, sdk.During, sdk.After}}
	switch {
	case cfg.Restore: // all of them
	case cfg.Scope == "input":
		d.Hooks = d.Hooks[:1]
	case cfg.Scope == "output":
		d.Hooks = d.Hooks[1:]
	}
	p.Describe(&d)
	return d, nil
}

func (p *PII) configure(cfg Config) error {
	if err := cfg.Action.Valid("action"); err != nil {
		return err
	}
	if !slices.Contains([]string{"input", "output", "both"}, cfg.Scope) {
		return fmt.Errorf("scope: %q is not one of input, output, both", cfg.Scope)
	}
	if cfg.Restore && cfg.Scope == "output" {
		return fmt.Errorf("restore: what is masked in answers alone cannot be restored; scope is output")
	}
	all := recognisers()
	for name, a := range cfg.Entities {
		if err := a.Valid("entities." + name); err != nil {
			return err
		}
		if !slices.ContainsFunc(all, func(r *recogniser) bool { return r.name == name }) {
			return fmt.Errorf("entities.%s: is not one of %s", name, strings.Join(Kinds(), ", "))
		}
	}
	p.cfg, p.action = cfg, make(map[string]scan.Action)
	for _, r := range all {
		a, said := cfg.Entities[r.name]
		if !said {
			if a = cfg.Action; cfg.Only || r.off {
				a = scan.Allow
			}
		}
		if p.action[r.name] = a; a != scan.Allow {
			p.list = append(p.list, r)
		}
	}
	return nil
}

// Kinds are the names of all kinds of personal data that are known, in order.
func Kinds() []string {
	var names []string
	for _, r := range recognisers() {
		names = append(names, r.name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Check implements sdk.Guardrail.
func (p *PII) Check(ctx context.Context, c *sdk.Check) (sdk.Verdict, error) {
	g := p.Guard
	if c.Hook == sdk.Before {
		g.Finder = requests{p}
	}
	return g.Check(ctx, c)
}

// data finds personal data from a place in the text on.
func (p *PII) data(text string, from int) []scan.Span {
	places := candidates(text, from)
	if len(places) == 0 {
		return nil
	}
	lower := strings.ToLower(text)
	if len(lower) != len(text) {
		lower = text // some letters have another length in lower case
	}
	var all []scan.Span
	for _, r := range p.list {
		if !r.mentioned(lower) {
			continue
		}
		behind := 0
		for i := range places {
			c := &places[i]
			if c.start < behind {
				continue
			}
			if end, ok := r.try(text, lower, c); ok {
				all = append(all, scan.Span{Start: c.start, End: end, Category: r.name, Action: p.action[r.name], Text: "[" + r.name + "]"})
				behind = end
			}
		}
	}
	return scan.Apart(p.spared(text, all))
}

// spared are the spans without those whose text is allowed, and what stands within them.
func (p *PII) spared(text string, spans []scan.Span) []scan.Span {
	if len(p.cfg.Allow) == 0 {
		return spans
	}
	var allowed []scan.Span
	for _, s := range spans {
		if slices.Contains(p.cfg.Allow, text[s.Start:s.End]) {
			allowed = append(allowed, s)
		}
	}
	return slices.DeleteFunc(spans, func(s scan.Span) bool {
		return slices.ContainsFunc(allowed, func(a scan.Span) bool { return a.Start <= s.Start && s.End <= a.End })
	})
}

// requests finds personal data in requests.
type requests struct{ p *PII }

// Reach implements scan.Finder.
func (requests) Reach() int { return reach }

// Find implements scan.Finder.
func (r requests) Find(info *sdk.Info, text string, from int) ([]scan.Span, error) {
	p := r.p
	if p.cfg.Scope == "output" {
		return nil, nil
	}
	spans := p.data(text, from)
	for i := range spans {
		if s := &spans[i]; p.cfg.Restore && s.Action == scan.Mask {
			s.Text = p.vaults.Put(info.RequestID, s.Category, text[s.Start:s.End])
		}
	}
	return spans, nil
}

// answers finds personal data in answers, and what is to be restored.
type answers struct{ p *PII }

// Reach implements scan.Finder.
func (answers) Reach() int { return reach }

// Find implements scan.Finder.
func (a answers) Find(info *sdk.Info, text string, from int) ([]scan.Span, error) {
	p := a.p
	var all []scan.Span
	if p.cfg.Scope != "input" {
		all = p.data(text, from)
	}
	if !p.cfg.Restore {
		return all, nil
	}
	return scan.Apart(append(all, p.vaults.Spans(info.RequestID, text, from)...)), nil
}
