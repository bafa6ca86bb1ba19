package builtin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	ahocorasick "github.com/petar-dambovaliev/aho-corasick"

	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/resource"
)

// Bounds of a list of words.
const (
	maxWords     = 50_000
	maxWordBytes = 1024
	maxChannels  = 4096 // texts side by side in one stream
)

// KeywordsConfig is the configuration of the keywords guardrail.
type KeywordsConfig struct {
	Words         []string `json:"words,omitempty"`          // anywhere in a text, within words too
	Stored        bool     `json:"stored,omitempty"`         // also those of the setting banned_keywords_list, which the node adds to words
	Action        string   `json:"action,omitempty"`         // "block" (default) or "mask"
	Mask          string   `json:"mask,omitempty"`           // what stands for a masked word; default "[masked]"
	CaseSensitive bool     `json:"case_sensitive,omitempty"` // default: "A" and "a" are the same
}

// KeywordsName is the name of the keywords guardrail among the shipped plugins.
const KeywordsName = "keywords"

// WithStored is the configuration of a keywords guardrail with the words put in that the cluster bans, if
// it asks for them. One that does not, or cannot be read, stays as it is.
func WithStored(config []byte, banned []string) []byte {
	var cfg KeywordsConfig
	if json.Unmarshal(config, &cfg, json.RejectUnknownMembers(true)) != nil || !cfg.Stored || len(banned) == 0 {
		return config
	}
	cfg.Words = append(cfg.Words, banned...)
	out, err := json.Marshal(cfg, json.Deterministic(true))
	if err != nil {
		return config
	}
	return out
}

// Keywords blocks or masks listed words in requests and answers. In a stream it always blocks:
// what has left cannot be changed.
type Keywords struct {
	cfg KeywordsConfig
	ac  ahocorasick.AhoCorasick
	// reach is the most bytes that an occurrence of a word can take, less one.
	reach int
}

// Configure implements sdk.Guardrail.
func (k *Keywords) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	cfg := KeywordsConfig{Action: "block", Mask: "[masked]"}
	if err := json.Unmarshal(s.Config, &cfg, json.RejectUnknownMembers(true)); err != nil {
		return sdk.GuardrailDescription{}, fmt.Errorf("read config: %w", err)
	}
	if err := cfg.validate(); err != nil {
		return sdk.GuardrailDescription{}, err
	}
	k.cfg = cfg
	patterns := make([]string, len(cfg.Words))
	for i, w := range cfg.Words {
		patterns[i] = w
		if !cfg.CaseSensitive {
			patterns[i] = string(fold(nil, w))
		}
		k.reach = max(k.reach, k.span(w)-1)
	}
	builder := ahocorasick.NewAhoCorasickBuilder(ahocorasick.Opts{MatchKind: ahocorasick.LeftMostLongestMatch})
	k.ac = builder.Build(patterns)
	return sdk.GuardrailDescription{
		Version:  Version,
		Hooks:    []resource.Hook{resource.HookBefore, resource.HookDuring, resource.HookAfter},
		HoldBack: k.reach,
	}, nil
}

func (c *KeywordsConfig) validate() error {
	if len(c.Words) == 0 && !c.Stored {
		return errors.New("words: give at least one, or say stored")
	}
	if len(c.Words) > maxWords {
		return fmt.Errorf("words: %d are more than %d", len(c.Words), maxWords)
	}
	for i, w := range c.Words {
		if strings.TrimSpace(w) == "" || len(w) > maxWordBytes {
			return fmt.Errorf("words[%d]: is blank or longer than %d bytes", i, maxWordBytes)
		}
	}
	if c.Action != "block" && c.Action != "mask" {
		return fmt.Errorf("action: %q is not one of block, mask", c.Action)
	}
	return nil
}

// Check implements sdk.Guardrail.
func (k *Keywords) Check(_ context.Context, c *sdk.Check) (sdk.Verdict, error) {
	var masked []sdk.Replacement
	for i, t := range c.Texts {
		if !k.found(t.Text) {
			continue
		}
		if k.cfg.Action == "block" {
			return k.block(), nil
		}
		masked = append(masked, sdk.Replacement{Index: i, Text: k.mask(t.Text)})
	}
	if len(masked) > 0 {
		return sdk.Rewrite(masked...), nil
	}
	return sdk.Pass(), nil
}

// OpenStream implements sdk.GuardrailStreamer.
func (k *Keywords) OpenStream(context.Context, *sdk.Info) (sdk.GuardrailStream, error) {
	return &keywordStream{k: k, tails: make(map[string]string)}, nil
}

func (k *Keywords) block() sdk.Verdict {
	return sdk.Block("the text contains words that are not allowed here")
}

func (k *Keywords) found(text string) bool {
	if !k.cfg.CaseSensitive {
		text = string(fold(nil, text))
	}
	return k.ac.Iter(text).Next() != nil
}

// mask replaces every occurrence.
func (k *Keywords) mask(text string) string {
	haystack, at := []byte(text), []int(nil)
	if !k.cfg.CaseSensitive {
		haystack = fold(&at, text)
	}
	original := func(i int) int {
		if at == nil {
			return i
		}
		return at[i]
	}
	var out bytes.Buffer
	from := 0
	iter := k.ac.IterByte(haystack)
	for m := iter.Next(); m != nil; m = iter.Next() {
		if start := original(m.Start()); start >= from {
			out.WriteString(text[from:start])
			out.WriteString(k.cfg.Mask)
		} // else it overlaps the one before and is masked with it
		from = max(from, original(m.End()))
	}
	out.WriteString(text[from:])
	return out.String()
}

// span is the most bytes that an occurrence of the word can take: some letters have longer
// forms in the other case, such as k and the Kelvin sign.
func (k *Keywords) span(word string) int {
	if k.cfg.CaseSensitive {
		return len(word)
	}
	n := 0
	for _, r := range word {
		size := utf8.RuneLen(r)
		for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
			size = max(size, utf8.RuneLen(o))
		}
		n += size
	}
	return n
}

// keywordStream finds words that are split between chunks.
type keywordStream struct {
	k     *Keywords
	tails map[string]string // the last bytes of each channel
}

// Chunk implements sdk.GuardrailStream.
func (s *keywordStream) Chunk(_ context.Context, parts []sdk.Part) (sdk.Verdict, error) {
	for _, p := range parts {
		text := s.tails[p.Channel] + p.Text
		if s.k.found(text) {
			return s.k.block(), nil
		}
		cut := max(0, len(text)-s.k.reach)
		for cut > 0 && cut < len(text) && !utf8.RuneStart(text[cut]) {
			cut--
		}
		if len(s.tails) >= maxChannels {
			if _, ok := s.tails[p.Channel]; !ok {
				return sdk.Verdict{}, errors.New("too many texts side by side")
			}
		}
		s.tails[p.Channel] = strings.Clone(text[cut:])
	}
	return sdk.Pass(), nil
}

// End implements sdk.GuardrailStream.
func (s *keywordStream) End(context.Context) (sdk.Verdict, error) { return sdk.Pass(), nil }

// Close implements sdk.GuardrailStream.
func (s *keywordStream) Close() { clear(s.tails) }

// fold gives text with each letter in the first of its forms, so that texts which differ only in
// case are the same. With at, it also gives the place in text of each byte, and of the end.
func fold(at *[]int, text string) []byte {
	out := make([]byte, 0, len(text))
	for i, r := range text {
		n := len(out)
		if r == utf8.RuneError {
			out = append(out, text[i:i+max(1, invalidLen(text[i:]))]...)
		} else {
			out = utf8.AppendRune(out, first(r))
		}
		if at != nil {
			for range len(out) - n {
				*at = append(*at, i)
			}
		}
	}
	if at != nil {
		*at = append(*at, len(text))
	}
	return out
}

func invalidLen(s string) int {
	_, n := utf8.DecodeRuneInString(s)
	return n
}

// first is the smallest letter that differs from r only in case.
func first(r rune) rune {
	if r < utf8.RuneSelf {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}
	low := r
	for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
		low = min(low, o)
	}
	return low
}
