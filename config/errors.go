package config

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// textWidth is how wide an error is printed.
const textWidth = 100

// Position is a place in a configuration file, counted from 1.
type Position struct {
	File   string
	Line   int
	Column int
}

// String gives "file:line:column".
func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Problem is one thing that is wrong with a file.
type Problem struct {
	Position
	Summary string
	Detail  string
}

// Error is everything that is wrong with a file. It prints each problem with the lines of
// the file that it is about, in which secrets are hidden.
type Error struct {
	Problems []Problem
	text     string
}

// Error implements error.
func (e *Error) Error() string { return e.text }

// NewError makes the error of what was found in the file at path. shown is the file without its secrets.
func NewError(diags hcl.Diagnostics, path string, shown *hcl.File) *Error {
	e := &Error{}
	slices.SortStableFunc(diags, func(a, b *hcl.Diagnostic) int { return cmp.Compare(startOf(a), startOf(b)) })
	for _, d := range diags {
		p := Problem{Position: Position{File: path}, Summary: d.Summary, Detail: d.Detail}
		if d.Subject != nil {
			p.Position = PositionOf(*d.Subject)
		}
		e.Problems = append(e.Problems, p)
	}
	var b bytes.Buffer
	w := hcl.NewDiagnosticTextWriter(&b, map[string]*hcl.File{path: shown}, textWidth, false)
	if err := w.WriteDiagnostics(diags); err != nil {
		e.text = diags.Error()
		return e
	}
	e.text = strings.TrimRight(b.String(), "\n")
	return e
}

func startOf(d *hcl.Diagnostic) int {
	if d.Subject == nil {
		return 0
	}
	return d.Subject.Start.Byte
}

// PositionOf is where a range begins.
func PositionOf(r hcl.Range) Position {
	return Position{File: r.Filename, Line: r.Start.Line, Column: r.Start.Column}
}
