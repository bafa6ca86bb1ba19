// Command guard is a guardrail of its time.
package main

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/conclave-llm/conclave/plugins/sdk"
)

type guard struct{ word string }

func (g *guard) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	err := json.Unmarshal(s.Config, &g.word)
	return sdk.GuardrailDescription{Version: "1.9.0", Hooks: []sdk.Hook{sdk.Before, sdk.During, sdk.After}, HoldBack: len(g.word)}, err
}

func (g *guard) Check(_ context.Context, c *sdk.Check) (sdk.Verdict, error) {
	for i, t := range c.Texts {
		if c.Hook == sdk.Before && t.Text == "answer me" {
			return sdk.Answer("an answer"), nil
		}
		if c.Hook == sdk.Before && t.Text == "answer me with a body" {
			return sdk.AnswerBody("", []byte(`{"choices":[]}`)), nil
		}
		if strings.Contains(t.Text, g.word) {
			if c.Hook == sdk.After {
				return sdk.Rewrite(sdk.Replacement{Index: i, Text: strings.ReplaceAll(t.Text, g.word, "***")}), nil
			}
			v := sdk.Block("the word")
			v.Findings = []sdk.Finding{{Category: "word"}}
			return v, nil
		}
	}
	return sdk.Pass(), nil
}

func (g *guard) OpenStream(context.Context, *sdk.Info) (sdk.GuardrailStream, error) {
	return &stream{word: g.word}, nil
}

// stream judges the one channel of its time's tests.
type stream struct{ word, text string }

func (s *stream) Chunk(_ context.Context, parts []sdk.Part) (sdk.Verdict, error) {
	for _, p := range parts {
		s.text += p.Text
		if at := strings.Index(s.text, s.word); at >= 0 {
			s.text = strings.Replace(s.text, s.word, "***", 1) + strings.Repeat(" ", len(s.word)-3)
			return sdk.Rewrite(sdk.Replacement{Channel: p.Channel, Start: int64(at), End: int64(at + len(s.word)), Text: "***"}), nil
		}
	}
	return sdk.Pass(), nil
}

func (s *stream) End(context.Context) (sdk.Verdict, error) { return sdk.Pass(), nil }

func (s *stream) Close() {}

func main() { sdk.ServeGuardrail(&guard{}) }
