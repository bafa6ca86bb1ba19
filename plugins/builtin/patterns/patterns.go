// Package patterns is the guardrail that looks for regular expressions.
package patterns

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/go-json-experiment/json"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Bounds of a configuration.
const (
	maxPatterns = 200
	maxLength   = 4096  // of an expression, in bytes
	maxReach    = 16384 // bytes
	maxMatches  = 10000 // of one expression in a text
	defReach    = 256
)

// Config is the configuration of the guardrail.
type Config struct {
	Patterns []Pattern `json:"patterns"`
	// Longest is how many bytes a match can have. So much of a stream is held back; one in which a longer
	// match would be masked is blocked. Default 256.
	Longest int `json:"longest,omitempty"`
	// Message is what the client sees of a block.
	Message string `json:"message,omitempty"`
}

// Pattern is one expression.
type Pattern struct {
	Name   string      `json:"name"`             // the category, for logs
	Regex  string      `json:"regex"`            // in Go's syntax (RE2)
	Action scan.Action `json:"action,omitempty"` // default block
	Mask   string      `json:"mask,omitempty"`   // default [NAME]
	Group  int         `json:"group,omitempty"`  // what is masked; default 0, the whole match
}

// Patterns is the guardrail.
type Patterns struct {
	scan.Guard
	list  []compiled
	reach int
}

type compiled struct {
	Pattern
	re *regexp.Regexp
}

// Configure implements sdk.Guardrail.
func (p *Patterns) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	cfg := Config{Longest: defReach, Message: "the text contains what is not allowed here"}
	if err := json.Unmarshal(s.Config, &cfg, json.RejectUnknownMembers(true)); err != nil {
		return sdk.GuardrailDescription{}, fmt.Errorf("read config: %w", err)
	}
	if len(cfg.Patterns) == 0 || len(cfg.Patterns) > maxPatterns {
		return sdk.GuardrailDescription{}, fmt.Errorf("patterns: give 1 to %d", maxPatterns)
	}
	if cfg.Longest < 1 || cfg.Longest > maxReach {
		return sdk.GuardrailDescription{}, fmt.Errorf("longest: %d is not from 1 to %d", cfg.Longest, maxReach)
	}
	for i := range cfg.Patterns {
		c, err := compile(&cfg.Patterns[i])
		if err != nil {
			return sdk.GuardrailDescription{}, fmt.Errorf("patterns[%d].%w", i, err)
		}
		p.list = append(p.list, c)
	}
	p.reach = cfg.Longest - 1
	p.Guard = scan.Guard{Finder: p, Message: cfg.Message}
	d := sdk.GuardrailDescription{Hooks: []sdk.Hook{sdk.Before, sdk.During, sdk.After}}
	p.Describe(&d)
	return d, nil
}

func compile(p *Pattern) (compiled, error) {
	if p.Action == "" {
		p.Action = scan.Block
	}
	if err := p.Action.Valid("action"); err != nil {
		return compiled{}, err
	}
	if p.Name == "" {
		return compiled{}, errors.New("name: is missing")
	}
	if p.Regex == "" || len(p.Regex) > maxLength {
		return compiled{}, fmt.Errorf("regex: has %d bytes, not 1 to %d", len(p.Regex), maxLength)
	}
	re, err := regexp.Compile(p.Regex)
	if err != nil {
		return compiled{}, fmt.Errorf("regex: %w", err)
	}
	if re.MatchString("") {
		return compiled{}, errors.New("regex: matches an empty text")
	}
	if p.Group < 0 || p.Group > re.NumSubexp() {
		return compiled{}, fmt.Errorf("group: %d is not from 0 to %d", p.Group, re.NumSubexp())
	}
	if p.Mask == "" {
		p.Mask = "[" + p.Name + "]"
	}
	return compiled{*p, re}, nil
}

// Reach implements scan.Finder.
func (p *Patterns) Reach() int { return p.reach }

// Find implements scan.Finder.
func (p *Patterns) Find(_ *sdk.Info, text string, from int) ([]scan.Span, error) {
	var all []scan.Span
	for i := range p.list {
		c := &p.list[i]
		if c.Action == scan.Allow {
			continue
		}
		for _, m := range scan.Matches(c.re, text, from, maxMatches) {
			if start, end := m[2*c.Group], m[2*c.Group+1]; start < end {
				all = append(all, scan.Span{Start: start, End: end, Category: c.Name, Action: c.Action, Text: c.Mask})
			}
		}
	}
	return scan.Apart(all), nil
}
