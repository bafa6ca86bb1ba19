// Package presidio is the guardrail that asks Microsoft Presidio: its analyzer finds personal data, and
// the guardrail, or Presidio's anonymizer, masks it.
package presidio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/service"
	"github.com/conclave-llm/conclave/plugins/builtin/vault"
	"github.com/conclave-llm/conclave/plugins/builtin/verdict"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// reach is the most bytes of a placeholder that is put back, less one.
const reach = 63

// Config is the configuration of the guardrail.
type Config struct {
	service.Config // of the analyzer
	verdict.Terms
	// Anonymizer is the URL of Presidio's anonymizer; without one what was found becomes <KIND>.
	Anonymizer  string                 `json:"presidio_anonymizer_api_base,omitempty"`
	Anonymizers map[string]any         `json:"anonymizers,omitempty"` // operators by kind, for the anonymizer
	Language    string                 `json:"presidio_language,omitempty"`
	Entities    map[string]scan.Action `json:"pii_entities_config,omitempty"` // by kind: block, mask, flag or allow; empty: mask all that is found
	// Scores are the least scores by kind, and of ALL; default: the analyzer's own.
	Scores map[string]float64 `json:"presidio_score_thresholds,omitempty"`
	Scope  string             `json:"presidio_filter_scope,omitempty"` // input, output or both (default)
	// Restore puts back in answers what was masked in the request.
	Restore     bool            `json:"output_parse_pii,omitempty"`
	Recognizers json.RawMessage `json:"presidio_ad_hoc_recognizers,omitempty"` // as the analyzer takes them
	Deny        []string        `json:"presidio_entities_deny_list,omitempty"` // kinds that are not looked for
}

// Presidio is the guardrail.
type Presidio struct {
	restorer scan.Guard
	cfg      Config
	analyzer *service.Sender
	masker   *service.Sender // nil: the guardrail masks
	vaults   *vault.Vaults
}

// Configure implements sdk.Guardrail.
func (g *Presidio) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	cfg := Config{Language: "en", Scope: "both"}
	err := verdict.Read(s.Config, &cfg)
	if err == nil {
		err = cfg.Validate("the text contains personal data")
	}
	if err == nil {
		g.analyzer, err = service.New(cfg.Config, "http://presidio-analyzer:3000")
	}
	if err == nil {
		err = cfg.validate()
	}
	if err == nil && cfg.Anonymizer != "" {
		other := cfg.Config
		other.APIBase = cfg.Anonymizer
		g.masker, err = service.New(other, "http://presidio-anonymizer:3000")
	}
	g.cfg, g.vaults = cfg, vault.New()
	g.restorer = scan.Guard{Finder: restorer{g.vaults}}
	return g.describe(), err
}

func (c *Config) validate() error {
	for _, kind := range slices.Sorted(maps.Keys(c.Entities)) {
		a := scan.Action(strings.ToLower(string(c.Entities[kind])))
		if err := a.Valid("pii_entities_config." + kind); err != nil {
			return err
		}
		c.Entities[kind] = a
	}
	if !slices.Contains([]string{"input", "output", "both"}, c.Scope) {
		return fmt.Errorf("presidio_filter_scope: %q is not one of input, output, both", c.Scope)
	}
	if err := c.scores(); err != nil {
		return fmt.Errorf("presidio_score_%w", err)
	}
	if c.Restore && c.Scope == "output" {
		return errors.New("output_parse_pii: what is masked in answers alone cannot be restored; presidio_filter_scope is output")
	}
	if c.Restore && c.Anonymizer != "" {
		return errors.New("output_parse_pii: what the anonymizer masks cannot be restored; leave presidio_anonymizer_api_base out")
	}
	return nil
}

// general are the kinds that Presidio's recognizers find beside those of single countries, US_SSN and so on.
var general = []string{
	"AGE", "CREDIT_CARD", "CRYPTO", "DATE_TIME", "EMAIL_ADDRESS", "IBAN_CODE", "ID", "IP_ADDRESS", "LOCATION", "MAC_ADDRESS", "MEDICAL_LICENSE",
	"NRP", "ORGANIZATION", "PERSON", "PHONE_NUMBER", "URL", "UUID",
}

// national are the kinds of a country.
var national = regexp.MustCompile(`^[A-Z]{2}_[A-Z0-9_]+$`)

// scores checks the least scores: a kind that nobody finds would have none.
func (c *Config) scores() error {
	if err := (&verdict.Thresholds{Thresholds: c.Scores}).Validate(nil); err != nil {
		return err
	}
	known := append([]string{"ALL"}, slices.Sorted(maps.Keys(c.Entities))...)
	var own []struct {
		Kind string `json:"supported_entity"`
	}
	_ = json.Unmarshal(c.Recognizers, &own) // the analyzer says what is wrong with them
	for i := range own {
		known = append(known, own[i].Kind)
	}
	if len(c.Entities) == 0 {
		known = append(known, general...)
	}
	for _, kind := range slices.Sorted(maps.Keys(c.Scores)) {
		if !slices.Contains(known, kind) && (len(c.Entities) > 0 || !national.MatchString(kind)) {
			return fmt.Errorf("thresholds.%s: is not looked for; there are %s, those of countries such as US_SSN, and what pii_entities_config names", kind, strings.Join(known, ", "))
		}
	}
	return nil
}

func (g *Presidio) describe() sdk.GuardrailDescription {
	d := service.Described()
	switch {
	case g.cfg.Scope == "output":
		d.Hooks = []sdk.Hook{sdk.After}
	case g.cfg.Scope == "input" && g.cfg.Restore:
		g.restorer.Describe(&d)
		d.Hooks = []sdk.Hook{sdk.Before, sdk.During, sdk.After}
	case g.cfg.Scope == "input":
		d.Hooks = []sdk.Hook{sdk.Before}
	}
	return d
}

// result is one thing that the analyzer found, in characters of the text.
type result struct {
	Kind  string   `json:"entity_type"`
	Start *int     `json:"start"`
	End   *int     `json:"end"`
	Score *float64 `json:"score"`
}

// Check implements sdk.Guardrail.
func (g *Presidio) Check(ctx context.Context, c *sdk.Check) (sdk.Verdict, error) {
	answer := c.Hook != sdk.Before
	if answer && g.cfg.Scope == "input" {
		return g.restorer.Check(ctx, c)
	}
	texts := g.cfg.Texts(c)
	all := make([][]scan.Span, len(texts))
	raw := make([][]result, len(texts))
	err := service.Each(ctx, len(texts), func(ctx context.Context, n int) (err error) {
		all[n], raw[n], err = g.analyze(ctx, c.Texts[texts[n]].Text)
		return err
	})
	if err != nil {
		return sdk.Verdict{}, err
	}
	var found service.Found
	for _, spans := range all {
		for _, s := range spans {
			if s.Action == scan.Block {
				found.Add(s.Category, 0)
			}
		}
	}
	if len(found.All()) > 0 {
		return g.cfg.Decide(found.All()), nil
	}
	return g.mask(ctx, c, texts, all, raw)
}

// mask replaces what was found in each text.
func (g *Presidio) mask(ctx context.Context, c *sdk.Check, texts []int, all [][]scan.Span, raw [][]result) (sdk.Verdict, error) {
	var found service.Found
	var changed service.Rewritten
	err := service.Each(ctx, len(texts), func(ctx context.Context, n int) error {
		text := c.Texts[texts[n]].Text
		for i := range all[n] {
			s := &all[n][i]
			found.Add(s.Category, 0)
			if g.cfg.Restore && c.Hook == sdk.Before && s.Action == scan.Mask {
				s.Text = g.vaults.Put(c.Info.RequestID, s.Category, text[s.Start:s.End])
			}
		}
		now, ok := scan.Replace(text, all[n])
		if ok && g.masker != nil {
			var err error
			if now, err = g.anonymize(ctx, text, raw[n]); err != nil {
				return err
			}
		}
		if g.cfg.Restore && c.Hook != sdk.Before {
			if back, put := scan.Replace(now, g.vaults.Spans(c.Info.RequestID, now, 0)); put {
				now = back
			}
		}
		if now != text {
			changed.Add(texts[n], now)
		}
		return nil
	})
	if err != nil {
		return sdk.Verdict{}, err
	}
	v := service.Decide(&g.cfg.Terms, &service.Found{}, &changed)
	if len(found.All()) > 0 {
		v.Findings = found.All()
	}
	return v, nil
}

// analyze asks what is in a text.
func (g *Presidio) analyze(ctx context.Context, text string) ([]scan.Span, []result, error) {
	body := map[string]any{"text": text, "language": g.cfg.Language}
	if len(g.cfg.Recognizers) > 0 {
		body["ad_hoc_recognizers"] = g.cfg.Recognizers
	}
	if kinds := g.kinds(); len(kinds) > 0 {
		body["entities"] = kinds
	}
	var out *[]result
	if err := g.analyzer.Post(ctx, service.Request{Path: "/analyze", Header: g.analyzer.Bearer(), Body: body}, &out); err != nil {
		return nil, nil, err
	}
	if out == nil {
		return nil, nil, service.ErrIncomplete
	}
	var spans []scan.Span
	var kept []result
	for _, r := range *out {
		if r.Kind == "" || r.Start == nil || r.End == nil || r.Score == nil {
			return nil, nil, service.ErrIncomplete
		}
		action := g.action(&r)
		if action == scan.Allow {
			continue
		}
		from, to, ok := service.Bytes(text, *r.Start, *r.End)
		if !ok || from == to {
			return nil, nil, errors.New("the service found something where the text has no place")
		}
		kept = append(kept, r)
		spans = append(spans, scan.Span{Start: from, End: to, Category: r.Kind, Action: action, Text: "<" + r.Kind + ">"})
	}
	return merged(spans), kept, nil
}

// kinds are those that are looked for; empty: all.
func (g *Presidio) kinds() []string {
	var out []string
	for _, kind := range slices.Sorted(maps.Keys(g.cfg.Entities)) {
		if g.cfg.Entities[kind] != scan.Allow && !slices.Contains(g.cfg.Deny, kind) {
			out = append(out, kind)
		}
	}
	return out
}

func (g *Presidio) action(r *result) scan.Action {
	if slices.Contains(g.cfg.Deny, r.Kind) {
		return scan.Allow
	}
	least, ok := g.cfg.Scores[r.Kind]
	if !ok {
		least = g.cfg.Scores["ALL"]
	}
	if *r.Score < least {
		return scan.Allow
	}
	a, ok := g.cfg.Entities[r.Kind]
	switch {
	case !ok && len(g.cfg.Entities) > 0:
		return scan.Allow
	case !ok:
		return scan.Mask
	}
	return a
}

// merged puts spans that overlap together, so that nothing of either is left: the strictest action and
// the longest one's kind count.
func merged(spans []scan.Span) []scan.Span {
	strict := []scan.Action{scan.Flag, scan.Mask, scan.Block}
	slices.SortStableFunc(spans, func(a, b scan.Span) int { return a.Start - b.Start })
	var out []scan.Span
	for _, s := range spans {
		n := len(out)
		if n == 0 || s.Start >= out[n-1].End {
			out = append(out, s)
			continue
		}
		last := &out[n-1]
		if s.End-s.Start > last.End-last.Start {
			last.Category, last.Text = s.Category, s.Text
		}
		if slices.Index(strict, s.Action) > slices.Index(strict, last.Action) {
			last.Action = s.Action
		}
		last.End = max(last.End, s.End)
	}
	return out
}

// anonymize asks the anonymizer what the text becomes.
func (g *Presidio) anonymize(ctx context.Context, text string, found []result) (string, error) {
	var masked []result
	for _, r := range found {
		if g.action(&r) == scan.Mask {
			masked = append(masked, r)
		}
	}
	body := map[string]any{"text": text, "analyzer_results": masked}
	if len(g.cfg.Anonymizers) > 0 {
		body["anonymizers"] = g.cfg.Anonymizers
	}
	var out struct {
		Text *string `json:"text"`
	}
	if err := g.masker.Post(ctx, service.Request{Path: "/anonymize", Header: g.masker.Bearer(), Body: body}, &out); err != nil {
		return "", err
	}
	if out.Text == nil {
		return "", service.ErrIncomplete
	}
	return *out.Text, nil
}

// OpenStream implements sdk.GuardrailStreamer, for a guardrail that only restores.
func (g *Presidio) OpenStream(ctx context.Context, info *sdk.Info) (sdk.GuardrailStream, error) {
	return g.restorer.OpenStream(ctx, info)
}

// restorer finds what is to be put back.
type restorer struct{ vaults *vault.Vaults }

// Reach implements scan.Finder.
func (restorer) Reach() int { return reach }

// Find implements scan.Finder.
func (r restorer) Find(info *sdk.Info, text string, from int) ([]scan.Span, error) {
	return r.vaults.Spans(info.RequestID, text, from), nil
}
