// Package wiretext makes texts fit for the messages between nodes and plugins, and for the logs and errors
// that show what a plugin said.
package wiretext

import (
	"strings"
	"unicode/utf8"
)

// Valid makes text that protocol buffers accept: a client's own fields may hold anything.
func Valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// Line is a text in one line of so many bytes at most, beside the sign that it was cut.
func Line(text string, most int) string {
	text = strings.Join(strings.Fields(Valid(text)), " ")
	if len(text) <= most {
		return text
	}
	for !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most] + "…"
}
