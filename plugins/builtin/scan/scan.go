// Package scan is what guardrails share that look for spans of a text: what is done about a
// category of them, in whole texts and in streams.
package scan

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Version is the version that shipped guardrails report.
const Version = "1"

// Action is what is done about a category.
type Action string

// The actions.
const (
	Block Action = "block" // the request or answer is refused
	Mask  Action = "mask"  // another text stands in its place
	Flag  Action = "flag"  // it is only reported
	Allow Action = "allow" // it is not looked for
)

// Actions are all that a configuration may name.
var Actions = []Action{Block, Mask, Flag, Allow}

// Valid returns an error that names the field of a configuration if its action is unknown.
func (a Action) Valid(field string) error {
	if slices.Contains(Actions, a) {
		return nil
	}
	return fmt.Errorf("%s: %q is not one of block, mask, flag, allow", field, string(a))
}

// Span is something found: the bytes from Start to End of a text.
type Span struct {
	Start, End int
	Category   string
	Action     Action
	Text       string // that stands in its place, for Mask
}

// Finder finds spans. Its methods are called concurrently.
type Finder interface {
	// Find returns what is in the text of the request, in order and apart from each other. What stands
	// before from is only there to be looked back at. An error says that the text could not be checked.
	Find(request *sdk.Info, text string, from int) ([]Span, error)
	// Reach is the most bytes that a span can take, less one. A stream in which a longer one would be
	// masked is blocked: its beginning would leave before its end has come.
	Reach() int
}

// Guard judges texts by what a Finder finds in them.
type Guard struct {
	Finder  Finder
	Message string // of a block, for the client
}

// Describe fills in how the guardrail checks streams: a little more than the reach is held back, so
// that texts need not be looked through for each chunk.
func (g *Guard) Describe(d *sdk.GuardrailDescription) {
	d.Version, d.HoldBack = Version, g.Finder.Reach()+step
}

// Check judges a whole request or answer.
func (g *Guard) Check(_ context.Context, c *sdk.Check) (sdk.Verdict, error) {
	var found findings
	var masked []sdk.Replacement
	blocked := false
	for i, t := range c.Texts {
		spans, err := g.Finder.Find(&c.Info, t.Text, 0)
		if err != nil {
			return sdk.Verdict{}, err
		}
		for _, s := range spans {
			found.add(s.Category)
			blocked = blocked || s.Action == Block
		}
		if text, ok := Replace(t.Text, spans); ok {
			masked = append(masked, sdk.Replacement{Index: i, Text: text})
		}
	}
	return g.verdict(blocked, masked, found), nil
}

func (g *Guard) verdict(blocked bool, masked []sdk.Replacement, found findings) sdk.Verdict {
	v := sdk.Pass()
	switch {
	case blocked:
		v = sdk.Block(g.Message)
	case len(masked) > 0:
		v = sdk.Rewrite(masked...)
	}
	v.Findings = found
	return v
}

// Replace is the text with what is masked replaced, if anything is. The spans are in order and apart.
func Replace(text string, spans []Span) (string, bool) {
	var out strings.Builder
	at := 0
	for _, s := range spans {
		if s.Action != Mask {
			continue
		}
		out.WriteString(text[at:s.Start])
		out.WriteString(s.Text)
		at = s.End
	}
	if at == 0 {
		return text, false
	}
	out.WriteString(text[at:])
	return out.String(), true
}

// findings counts by category. The category "" is not reported.
type findings []sdk.Finding

func (f *findings) add(category string) {
	if category == "" {
		return
	}
	for i := range *f {
		if (*f)[i].Category == category {
			(*f)[i].Count++
			return
		}
	}
	*f = append(*f, sdk.Finding{Category: category, Count: 1})
}

// Matches are the places of the expression's matches, and of their groups, that begin at from or
// behind it. At most limit are returned.
func Matches(re *regexp.Regexp, text string, from, limit int) [][]int {
	var all [][]int
	at := from
	if from > 0 {
		at-- // so that a boundary at from is seen
	}
	for len(all) < limit && at <= len(text) {
		m := re.FindStringSubmatchIndex(text[at:])
		if m == nil {
			return all
		}
		for i := range m {
			if m[i] >= 0 {
				m[i] += at
			}
		}
		if m[0] < from {
			at = from
			continue
		}
		all = append(all, m)
		at = max(m[1], m[0]+1)
	}
	return all
}

// Bounded says that no letter or digit stands right before or behind the bytes of the text.
func Bounded(text string, start, end int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:start])
	behind, _ := utf8.DecodeRuneInString(text[end:])
	return !word(before) && !word(behind)
}

func word(r rune) bool {
	return r == '_' || r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r))
}
