// Package secrets is the guardrail that looks for credentials: keys and tokens of some two hundred
// services, and private keys. A rule's expression is only tried near one of its keywords.
package secrets

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	ahocorasick "github.com/petar-dambovaliev/aho-corasick"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Where a rule's expression is tried, in bytes before and behind a keyword.
const (
	before = 128
	behind = 384
	pem    = 16 << 10 // behind the keyword of a private key
)

// maxTried bounds the bytes of text that expressions are tried on, for each byte of it: beyond it the
// check fails, and on_error decides. Texts full of keywords are no prompts.
const (
	maxTried   = 8
	leastTried = 1 << 20
)

// Bounds of longest.
const (
	leastLongest = 64
	mostLongest  = 16 << 10
	defLongest   = 512
)

// Config is the configuration of the guardrail.
type Config struct {
	Action  scan.Action            `json:"action,omitempty"`  // default mask
	Actions map[string]scan.Action `json:"actions,omitempty"` // by rule: {"jwt": "allow"}
	Mask    string                 `json:"mask,omitempty"`    // default [REDACTED]
	// Generic also takes what stands behind names such as "api_key =" for a secret. It errs more often.
	Generic bool `json:"generic,omitempty"`
	// Longest is how many bytes a secret can have in a stream, of which so much is held back; one with a
	// longer secret is blocked. Default 512.
	Longest int `json:"longest,omitempty"`
}

// Secrets is the guardrail.
type Secrets struct {
	scan.Guard
	cfg    Config
	rules  []*rule
	ac     ahocorasick.AhoCorasick
	byWord [][]int // the rules of each keyword
}

// Configure implements sdk.Guardrail.
func (s *Secrets) Configure(_ context.Context, set sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	cfg := Config{Action: scan.Mask, Mask: "[REDACTED]", Longest: defLongest}
	if len(set.Config) > 0 {
		if err := json.Unmarshal(set.Config, &cfg, json.RejectUnknownMembers(true)); err != nil {
			return sdk.GuardrailDescription{}, fmt.Errorf("read config: %w", err)
		}
	}
	rules, err := readRules()
	if err != nil {
		return sdk.GuardrailDescription{}, err
	}
	if err := cfg.validate(rules); err != nil {
		return sdk.GuardrailDescription{}, err
	}
	s.cfg = cfg
	s.rules = slices.DeleteFunc(rules, func(r *rule) bool {
		return s.action(r) == scan.Allow || r.id == generic && !cfg.Generic && cfg.Actions[generic] == ""
	})
	s.index()
	s.Guard = scan.Guard{Finder: s, Message: "the text contains a secret"}
	d := sdk.GuardrailDescription{Hooks: []sdk.Hook{sdk.Before, sdk.During, sdk.After}}
	s.Describe(&d)
	return d, nil
}

func (c *Config) validate(rules []*rule) error {
	if err := c.Action.Valid("action"); err != nil {
		return err
	}
	for id, a := range c.Actions {
		if err := a.Valid("actions." + id); err != nil {
			return err
		}
		if !slices.ContainsFunc(rules, func(r *rule) bool { return r.id == id }) {
			return fmt.Errorf("actions.%s: there is no such rule", id)
		}
	}
	if c.Longest < leastLongest || c.Longest > mostLongest {
		return fmt.Errorf("longest: %d is not from %d to %d", c.Longest, leastLongest, mostLongest)
	}
	return nil
}

func (s *Secrets) action(r *rule) scan.Action {
	if a, ok := s.cfg.Actions[r.id]; ok {
		return a
	}
	return s.cfg.Action
}

// index builds the search for all keywords at once.
func (s *Secrets) index() {
	at := map[string]int{}
	var words []string
	s.byWord = nil
	for i, r := range s.rules {
		for _, w := range r.keywords {
			n, ok := at[w]
			if !ok {
				n = len(words)
				at[w] = n
				words, s.byWord = append(words, w), append(s.byWord, nil)
			}
			s.byWord[n] = append(s.byWord[n], i)
		}
	}
	builder := ahocorasick.NewAhoCorasickBuilder(ahocorasick.Opts{AsciiCaseInsensitive: true, MatchKind: ahocorasick.StandardMatch, DFA: true})
	s.ac = builder.Build(words)
}

// Reach implements scan.Finder.
func (s *Secrets) Reach() int { return s.cfg.Longest - 1 }

// window is a part of a text in which a rule's expression is tried.
type window struct{ start, end int }

// errKeywords is returned for a text in which looking closely at each keyword would take too long.
var errKeywords = errors.New("the text has too many keywords of secrets")

// Find implements scan.Finder.
func (s *Secrets) Find(_ *sdk.Info, text string, from int) ([]scan.Span, error) {
	var all []scan.Span
	budget := max(leastTried, maxTried*len(text))
	for i, ws := range s.windows(text) {
		for _, w := range ws {
			if w.end <= from {
				continue
			}
			spans, tried := s.try(s.rules[i], text, max(from, w.start), w.end)
			if budget -= tried; budget < 0 {
				return nil, errKeywords
			}
			all = append(all, spans...)
		}
	}
	return scan.Apart(all), nil
}

// try looks for a rule's secrets from start to end, and further where one does not stop there. It also
// returns how many bytes it has read.
func (s *Secrets) try(r *rule, text string, start, end int) (spans []scan.Span, tried int) {
	re, _ := r.expressions()
	for {
		tried += end - start
		matches := scan.Matches(re, text[:end], start, len(text))
		if n := len(matches); n > 0 && matches[n-1][1] == end && end < len(text) {
			end = min(len(text), end+2*(end-start))
			continue
		}
		for _, m := range matches {
			if from, to, ok := r.secret(text, m); ok {
				spans = append(spans, scan.Span{Start: from, End: to, Category: r.id, Action: s.action(r), Text: s.cfg.Mask})
			}
		}
		return spans, tried
	}
}

// windows are where each rule has a keyword near, apart from each other.
func (s *Secrets) windows(text string) map[int][]window {
	var found map[int][]window
	it := s.ac.IterOverlapping(text)
	for m := it.Next(); m != nil; m = it.Next() {
		if found == nil {
			found = map[int][]window{}
		}
		for _, i := range s.byWord[m.Pattern()] {
			far := behind
			if s.rules[i].id == "private-key" {
				far = pem
			}
			w := window{max(0, m.Start()-before), min(len(text), m.End()+far)}
			ws := found[i]
			if n := len(ws); n > 0 && w.start <= ws[n-1].end {
				ws[n-1].end = max(ws[n-1].end, w.end)
				continue
			}
			found[i] = append(ws, w)
		}
	}
	return found
}
