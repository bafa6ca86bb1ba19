// Package placeholder is the language of stored prompts: texts with {{variables}} in them, and
// nothing else. There are no conditions, no loops, no functions and no files. A value is put in its
// place as it is; what it holds is never read again.
package placeholder

import (
	"fmt"
	"slices"
	"strings"
)

// Text is a text with variables in it.
type Text struct {
	pieces []piece
	size   int
}

// piece is a literal, or a variable if it has a name.
type piece struct{ literal, name string }

// Parse reads a text. What stands in double braces is the name of a variable: letters, digits, _, -
// and dots, with blanks around it. Braces behind a backslash are themselves. An error names the line.
func Parse(text string) (*Text, error) {
	t := &Text{size: len(text)}
	var literal strings.Builder
	for rest := text; ; {
		at := strings.Index(rest, "{{")
		if at < 0 {
			literal.WriteString(rest)
			break
		}
		if at > 0 && rest[at-1] == '\\' {
			literal.WriteString(rest[:at-1] + "{{")
			rest = rest[at+2:]
			continue
		}
		literal.WriteString(rest[:at])
		line := 1 + strings.Count(text[:len(text)-len(rest)+at], "\n")
		inner, after, ok := strings.Cut(rest[at+2:], "}}")
		name := strings.TrimSpace(inner)
		switch {
		case !ok:
			return nil, fmt.Errorf("line %d: {{ is not closed by }}; write \\{{ for the braces themselves", line)
		case !valid(name):
			return nil, fmt.Errorf("line %d: {{%s}} is not the name of a variable: prompts have no logic; write \\{{ for the braces themselves", line, inner)
		}
		t.pieces = append(t.pieces, piece{literal: literal.String()}, piece{name: name})
		literal.Reset()
		rest = after
	}
	t.pieces = append(t.pieces, piece{literal: literal.String()})
	return t, nil
}

func valid(name string) bool {
	return name != "" && len(name) <= 128 && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-' && r != '.'
	})
}

// Names lists the variables of the text, each once, in the order in which they come.
func (t *Text) Names() (names []string) {
	for _, p := range t.pieces {
		if p.name != "" && !slices.Contains(names, p.name) {
			names = append(names, p.name)
		}
	}
	return names
}

// Fill puts the values in the place of the variables. missing is the first variable that has none.
func (t *Text) Fill(value func(name string) (string, bool)) (text, missing string) {
	var b strings.Builder
	b.Grow(t.size)
	for _, p := range t.pieces {
		b.WriteString(p.literal)
		if p.name == "" {
			continue
		}
		v, ok := value(p.name)
		if !ok {
			return "", p.name
		}
		b.WriteString(v)
	}
	return b.String(), ""
}
