// Package topics is the guardrail that keeps conversations at some topics, or away from others. A topic
// is a list of words: a text is about it if it has one of them.
package topics

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	ahocorasick "github.com/petar-dambovaliev/aho-corasick"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/verdict"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Bounds of a configuration.
const (
	maxWords = 50_000 // of all topics
	maxWord  = 256    // bytes
)

// Config is the configuration of the guardrail.
type Config struct {
	verdict.Terms
	Topics map[string][]string `json:"topics"` // the words of each topic; "refund*" also begins longer ones
	// Allow are the topics of which a request must be about one; empty: about any.
	Allow []string `json:"allow,omitempty"`
	// Deny are the topics that a text must not be about.
	Deny []string `json:"deny,omitempty"`
	// MinWords is how many words a request must have to need a topic: "thank you" has none. Default 4.
	MinWords *int `json:"min_words,omitempty"`
	// Answers also looks for denied topics in answers. A stream is then held to its end.
	Answers bool `json:"answers,omitempty"`
}

// Topics is the guardrail.
type Topics struct {
	cfg   Config
	ac    ahocorasick.AhoCorasick
	words []word // of each pattern of ac
}

type word struct {
	topic string
	open  bool // longer words that begin with it are meant too
}

// Configure implements sdk.Guardrail.
func (g *Topics) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	least := 4
	cfg := Config{Terms: verdict.Terms{Roles: []string{"user"}, Latest: true}, MinWords: &least}
	if err := verdict.Read(s.Config, &cfg); err != nil {
		return sdk.GuardrailDescription{}, err
	}
	if err := cfg.Validate("the text is not about what may be talked about here"); err != nil {
		return sdk.GuardrailDescription{}, err
	}
	if err := cfg.names(); err != nil {
		return sdk.GuardrailDescription{}, err
	}
	g.cfg = cfg
	if err := g.index(); err != nil {
		return sdk.GuardrailDescription{}, err
	}
	d := sdk.GuardrailDescription{Version: scan.Version, Hooks: []sdk.Hook{sdk.Before}}
	if cfg.Answers {
		d.Hooks = append(d.Hooks, sdk.After)
	}
	return d, nil
}

// names checks that allow and deny name topics.
func (c *Config) names() error {
	if len(c.Allow)+len(c.Deny) == 0 {
		return errors.New("give topics to allow or to deny")
	}
	for _, l := range []struct {
		field string
		names []string
	}{{"allow", c.Allow}, {"deny", c.Deny}} {
		for i, name := range l.names {
			if _, ok := c.Topics[name]; !ok {
				return fmt.Errorf("%s[%d]: there is no topic %q", l.field, i, name)
			}
		}
	}
	if c.MinWords == nil || *c.MinWords < 0 {
		return errors.New("min_words: is negative")
	}
	return nil
}

// index builds the search for all words at once.
func (g *Topics) index() error {
	var patterns []string
	g.words = nil
	for _, topic := range slices.Sorted(maps.Keys(g.cfg.Topics)) {
		for i, w := range g.cfg.Topics[topic] {
			text, open := strings.CutSuffix(w, "*")
			text = plain(text)
			if strings.TrimSpace(text) == "" || len(text) > maxWord {
				return fmt.Errorf("topics.%s[%d]: %q has no letters or more than %d bytes", topic, i, w, maxWord)
			}
			patterns = append(patterns, text[:len(text)-1]) // its last blank is looked for apart
			g.words = append(g.words, word{topic, open})
		}
	}
	if len(patterns) > maxWords {
		return fmt.Errorf("topics: %d words are more than %d", len(patterns), maxWords)
	}
	builder := ahocorasick.NewAhoCorasickBuilder(ahocorasick.Opts{MatchKind: ahocorasick.StandardMatch})
	g.ac = builder.Build(patterns)
	return nil
}

// plain is the text's words in lower case, each between blanks.
func plain(text string) string {
	return " " + strings.Join(strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r)
	}), " ") + " "
}

// about are the topics of a plain text.
func (g *Topics) about(text string) map[string]bool {
	found := map[string]bool{}
	it := g.ac.IterOverlapping(text)
	for m := it.Next(); m != nil; m = it.Next() {
		w := g.words[m.Pattern()]
		if w.open || m.End() < len(text) && text[m.End()] == ' ' {
			found[w.topic] = true
		}
	}
	return found
}

// Check implements sdk.Guardrail.
func (g *Topics) Check(ctx context.Context, c *sdk.Check) (sdk.Verdict, error) {
	topics := map[string]bool{}
	words := 0
	for _, i := range g.cfg.Texts(c) {
		if ctx.Err() != nil {
			return sdk.Verdict{}, ctx.Err()
		}
		text := plain(c.Texts[i].Text)
		words += max(0, strings.Count(text, " ")-1)
		maps.Copy(topics, g.about(text))
	}
	var found []sdk.Finding
	for _, name := range g.cfg.Deny {
		if topics[name] {
			found = append(found, sdk.Finding{Category: name})
		}
	}
	if c.Hook == sdk.Before && len(g.cfg.Allow) > 0 && words > 0 && words >= *g.cfg.MinWords &&
		!slices.ContainsFunc(g.cfg.Allow, func(name string) bool { return topics[name] }) {
		found = append(found, sdk.Finding{Category: "off_topic"})
	}
	return g.cfg.Decide(found), nil
}
