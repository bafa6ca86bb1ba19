// Package length is the guardrail that bounds how long texts may be, in characters.
package length

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/verdict"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// maxChannels bounds the texts side by side in one stream.
const maxChannels = 4096

// Config is the configuration of the guardrail. A bound of 0 is none.
type Config struct {
	verdict.Terms
	InputChars  int `json:"input_chars,omitempty"`  // of all texts of a request that are looked at
	TextChars   int `json:"text_chars,omitempty"`   // of one text of a request
	MaxTexts    int `json:"texts,omitempty"`        // of a request
	OutputChars int `json:"output_chars,omitempty"` // of one text of an answer
}

// Length is the guardrail.
type Length struct{ cfg Config }

// Configure implements sdk.Guardrail.
func (g *Length) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	var cfg Config
	if err := verdict.Read(s.Config, &cfg); err != nil {
		return sdk.GuardrailDescription{}, err
	}
	if err := cfg.Validate("the text is longer than is allowed here"); err != nil {
		return sdk.GuardrailDescription{}, err
	}
	for _, b := range []struct {
		name  string
		value int
	}{{"input_chars", cfg.InputChars}, {"text_chars", cfg.TextChars}, {"texts", cfg.MaxTexts}, {"output_chars", cfg.OutputChars}} {
		if b.value < 0 {
			return sdk.GuardrailDescription{}, fmt.Errorf("%s: %d is negative", b.name, b.value)
		}
	}
	d := sdk.GuardrailDescription{Version: scan.Version}
	if cfg.InputChars > 0 || cfg.TextChars > 0 || cfg.MaxTexts > 0 {
		d.Hooks = append(d.Hooks, sdk.Before)
	}
	if cfg.OutputChars > 0 {
		d.Hooks = append(d.Hooks, sdk.During, sdk.After)
	}
	if len(d.Hooks) == 0 {
		return d, errors.New("give at least one of input_chars, text_chars, texts, output_chars")
	}
	g.cfg = cfg
	return d, nil
}

// Check implements sdk.Guardrail.
func (g *Length) Check(_ context.Context, c *sdk.Check) (sdk.Verdict, error) {
	texts := g.cfg.Texts(c)
	all, longest := 0, 0
	for _, i := range texts {
		n := utf8.RuneCountInString(c.Texts[i].Text)
		all, longest = all+n, max(longest, n)
	}
	over := func(n, bound int) bool { return bound > 0 && n > bound }
	var found []sdk.Finding
	note := func(is bool, category string) {
		if is {
			found = append(found, sdk.Finding{Category: category})
		}
	}
	if c.Hook == sdk.Before {
		note(over(all, g.cfg.InputChars), "input_chars")
		note(over(longest, g.cfg.TextChars), "text_chars")
		note(over(len(texts), g.cfg.MaxTexts), "texts")
	} else {
		note(over(longest, g.cfg.OutputChars), "output_chars")
	}
	return g.cfg.Decide(found), nil
}

// OpenStream implements sdk.GuardrailStreamer.
func (g *Length) OpenStream(context.Context, *sdk.Info) (sdk.GuardrailStream, error) {
	return &stream{g: g, chars: map[string]int{}}, nil
}

// stream counts what each text of a stream has had.
type stream struct {
	g        *Length
	chars    map[string]int
	reported bool
}

// Chunk implements sdk.GuardrailStream.
func (s *stream) Chunk(_ context.Context, parts []sdk.Part) (sdk.Verdict, error) {
	for _, p := range parts {
		if _, ok := s.chars[p.Channel]; !ok && len(s.chars) >= maxChannels {
			return sdk.Verdict{}, errors.New("too many texts side by side")
		}
		s.chars[p.Channel] += utf8.RuneCountInString(p.Text)
		if s.chars[p.Channel] > s.g.cfg.OutputChars && !s.reported {
			s.reported = true
			return s.g.cfg.Decide([]sdk.Finding{{Category: "output_chars"}}), nil
		}
	}
	return sdk.Pass(), nil
}

// End implements sdk.GuardrailStream.
func (s *stream) End(context.Context) (sdk.Verdict, error) { return sdk.Pass(), nil }

// Close implements sdk.GuardrailStream.
func (s *stream) Close() {}
