// Command example-guardrail is a guardrail that blocks requests and answers in which one of the
// configured words stands.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/conclave-llm/conclave/plugins/sdk"
)

// version is what nodes show.
const version = "0.1.0"

// config is the plugin's own part of a guardrail's configuration; schema.json says the same.
type config struct {
	Words []string `json:"words"`
}

// plugin judges texts. Check is called concurrently: what Configure has set is only read.
type plugin struct {
	words   []string
	longest int // bytes of the longest word
}

// Configure is called once, before anything else.
func (p *plugin) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	var c config
	d := json.NewDecoder(bytes.NewReader(s.Config))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return sdk.GuardrailDescription{}, fmt.Errorf("read config: %w", err)
	}
	for _, w := range c.Words {
		if w == "" {
			return sdk.GuardrailDescription{}, errors.New("words: one of them is empty")
		}
		p.words = append(p.words, w)
		p.longest = max(p.longest, len(w))
	}
	if len(p.words) == 0 {
		return sdk.GuardrailDescription{}, errors.New("words: give at least one")
	}
	return sdk.GuardrailDescription{
		Version: version,
		Hooks:   []sdk.Hook{sdk.Before, sdk.During, sdk.After},
		// What may be the beginning of a word must not leave a stream before its end was seen.
		HoldBack: p.longest - 1,
	}, nil
}

// Check judges a request before it is sent (sdk.Before), and a whole answer (sdk.After).
func (p *plugin) Check(_ context.Context, c *sdk.Check) (sdk.Verdict, error) {
	for _, t := range c.Texts {
		if p.found(t.Text) {
			return p.block(), nil
		}
	}
	return sdk.Pass(), nil
}

// OpenStream begins the check of a streamed answer (sdk.During).
func (p *plugin) OpenStream(context.Context, *sdk.Info) (sdk.GuardrailStream, error) {
	return &stream{plugin: p, tails: map[string]string{}}, nil
}

// stream remembers the end of each text, in which a word may have begun.
type stream struct {
	plugin *plugin
	tails  map[string]string
}

// Chunk judges the next parts of the texts.
func (s *stream) Chunk(_ context.Context, parts []sdk.Part) (sdk.Verdict, error) {
	for _, part := range parts {
		text := s.tails[part.Channel] + part.Text
		if s.plugin.found(text) {
			return s.plugin.block(), nil
		}
		s.tails[part.Channel] = text[max(0, len(text)-s.plugin.longest+1):]
	}
	return sdk.Pass(), nil
}

// End judges what is left: nothing, for every word has been looked for.
func (s *stream) End(context.Context) (sdk.Verdict, error) { return sdk.Pass(), nil }

// Close frees what the stream holds.
func (s *stream) Close() {}

func (p *plugin) found(text string) bool {
	for _, w := range p.words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

// block does not repeat the word: the client would learn it, and logs would keep it.
func (p *plugin) block() sdk.Verdict {
	v := sdk.Block("a word that is not allowed")
	v.Findings = []sdk.Finding{{Category: "word", Count: 1}}
	return v
}

func main() { sdk.ServeGuardrail(&plugin{}) }
