// Package language is the guardrail that lets only some languages pass. It tells languages by how often
// three letters follow each other, without a model.
package language

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/abadojack/whatlanggo"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/verdict"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Bounds and defaults of a configuration.
const (
	defLetters = 24
	maxLetters = 10_000
	window     = 4 << 10 // bytes of a text that are judged at a time, each by itself
)

// Config is the configuration of the guardrail.
type Config struct {
	verdict.Terms
	// Allow are the languages that pass, by their codes: "en" or "eng".
	Allow []string `json:"allow"`
	// MinLetters is how many letters a text must have to be judged; a shorter one passes. Default 24.
	MinLetters int `json:"min_letters,omitempty"`
	// Unsure is what becomes of a text whose language cannot be told: pass (default) or block.
	Unsure string `json:"unsure,omitempty"`
	// Answers also looks at answers. A stream is then held to its end.
	Answers bool `json:"answers,omitempty"`
}

// Language is the guardrail.
type Language struct {
	cfg   Config
	allow map[whatlanggo.Lang]bool
}

// Configure implements sdk.Guardrail.
func (g *Language) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	cfg := Config{Terms: verdict.Terms{Roles: []string{"user"}}, MinLetters: defLetters, Unsure: "pass"}
	if err := verdict.Read(s.Config, &cfg); err != nil {
		return sdk.GuardrailDescription{}, err
	}
	if err := cfg.Validate("the text is not in a language that is allowed here"); err != nil {
		return sdk.GuardrailDescription{}, err
	}
	if cfg.MinLetters < 1 || cfg.MinLetters > maxLetters {
		return sdk.GuardrailDescription{}, fmt.Errorf("min_letters: %d is not from 1 to %d", cfg.MinLetters, maxLetters)
	}
	if cfg.Unsure != "pass" && cfg.Unsure != "block" {
		return sdk.GuardrailDescription{}, fmt.Errorf("unsure: %q is not one of pass, block", cfg.Unsure)
	}
	if len(cfg.Allow) == 0 {
		return sdk.GuardrailDescription{}, errors.New("allow: give at least one language")
	}
	g.cfg, g.allow = cfg, make(map[whatlanggo.Lang]bool, len(cfg.Allow))
	known := codes()
	for i, code := range cfg.Allow {
		l, ok := known[strings.ToLower(code)]
		if !ok {
			return sdk.GuardrailDescription{}, fmt.Errorf("allow[%d]: %q is not the code of a language that is known here; there are %s", i, code, list(known))
		}
		g.allow[l] = true
	}
	d := sdk.GuardrailDescription{Version: scan.Version, Hooks: []sdk.Hook{sdk.Before}}
	if cfg.Answers {
		d.Hooks = append(d.Hooks, sdk.After)
	}
	return d, nil
}

// codes are the languages by their codes of two and of three letters.
func codes() map[string]whatlanggo.Lang {
	all := make(map[string]whatlanggo.Lang, 2*len(whatlanggo.Langs))
	for l := range whatlanggo.Langs {
		for _, code := range []string{l.Iso6391(), l.Iso6393()} {
			if code != "" {
				all[code] = l
			}
		}
	}
	return all
}

func list(known map[string]whatlanggo.Lang) string {
	var out []string
	for code, l := range known {
		if short := l.Iso6391(); code == short || short == "" {
			out = append(out, code)
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// Check implements sdk.Guardrail.
func (g *Language) Check(ctx context.Context, c *sdk.Check) (sdk.Verdict, error) {
	var found []sdk.Finding
	judged := map[string]bool{} // conversations repeat themselves, and judging a text takes a while
	for _, i := range g.cfg.Texts(c) {
		if judged[c.Texts[i].Text] {
			continue
		}
		judged[c.Texts[i].Text] = true
		name, bad, err := g.judge(ctx, c.Texts[i].Text)
		if err != nil {
			return sdk.Verdict{}, err
		}
		if bad && !slices.ContainsFunc(found, func(f sdk.Finding) bool { return f.Category == name }) {
			found = append(found, sdk.Finding{Category: name})
		}
	}
	return g.cfg.Decide(found), nil
}

// judge says which language, or at least which letters, the first part of a text is in that must not pass.
func (g *Language) judge(ctx context.Context, text string) (name string, bad bool, err error) {
	for !bad && text != "" {
		if ctx.Err() != nil {
			return "", false, ctx.Err()
		}
		n := len(text)
		if n > window {
			for n = window; n > window-utf8.UTFMax && !utf8.RuneStart(text[n]); {
				n--
			}
		}
		name, bad = g.part(text[:n])
		text = text[n:]
	}
	return name, bad, nil
}

// part is judge of a part.
func (g *Language) part(text string) (name string, bad bool) {
	text = strings.ToValidUTF8(text, "")
	letters := 0
	for _, r := range text {
		if unicode.IsLetter(r) {
			if letters++; unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul) {
				letters += 3 // each says as much as some letters of an alphabet
			}
		}
	}
	if letters < g.cfg.MinLetters {
		return "", false
	}
	info := whatlanggo.Detect(text)
	switch {
	case g.allow[info.Lang]:
		return "", false
	case info.Lang >= 0 && info.IsReliable():
	case info.Script != nil && whatlanggo.DetectLangWithOptions(text, whatlanggo.Options{Whitelist: g.allow}) < 0:
		return whatlanggo.Scripts[info.Script], true // no language that is allowed is written in such letters
	default:
		return "unsure", g.cfg.Unsure == "block"
	}
	if code := info.Lang.Iso6391(); code != "" {
		return code, true
	}
	return info.Lang.Iso6393(), true
}
