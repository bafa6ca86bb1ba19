package config

import (
	"bytes"
	"cmp"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// textWidth is how wide an error is printed.
const textWidth = 100

// secretNames are the attributes whose text is not printed with an error.
var secretNames = map[string]bool{"master_key": true, "kek": true, "kek_next": true, "api_key": true, "secret": true, "rotation_key": true}

// secretLine finds a literal secret in a file too broken to be parsed.
var secretLine = regexp.MustCompile(`\b(?:master_key|kek_next|kek|api_key|secret|rotation_key)[ \t]*=[ \t]*"([^"\n]*)`)

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

func newError(diags hcl.Diagnostics, path string, src []byte, f *hcl.File) *Error {
	e := &Error{}
	slices.SortStableFunc(diags, func(a, b *hcl.Diagnostic) int { return cmp.Compare(startOf(a), startOf(b)) })
	for _, d := range diags {
		p := Problem{Position: Position{File: path}, Summary: d.Summary, Detail: d.Detail}
		if d.Subject != nil {
			p.Position = positionOf(*d.Subject)
		}
		e.Problems = append(e.Problems, p)
	}
	shown := &hcl.File{Bytes: hide(src, f)}
	if f == nil && filepath.Ext(path) != ".hcl" {
		shown.Bytes = hideYAML(src)
	}
	if f != nil {
		shown.Body = f.Body
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

func positionOf(r hcl.Range) Position {
	return Position{File: r.Filename, Line: r.Start.Line, Column: r.Start.Column}
}

// hide returns src with asterisks for what stands literally in a secret attribute.
func hide(src []byte, f *hcl.File) []byte {
	out := bytes.Clone(src)
	for _, m := range secretLine.FindAllSubmatchIndex(out, -1) {
		for i := m[2]; i < m[3]; i++ {
			out[i] = '*'
		}
	}
	if f != nil {
		if body, ok := f.Body.(*hclsyntax.Body); ok {
			hideBody(out, body)
		}
	}
	return out
}

func hideBody(out []byte, body *hclsyntax.Body) {
	for name, attr := range body.Attributes {
		if !secretNames[name] {
			continue
		}
		if call, ok := attr.Expr.(*hclsyntax.FunctionCallExpr); ok && len(call.Args) <= 1 {
			continue // env("NAME") and file("PATH") hold no secret, a default does
		}
		r := attr.Expr.Range()
		for i := r.Start.Byte; i < r.End.Byte && i < len(out); i++ {
			if out[i] != '\n' && out[i] != '"' {
				out[i] = '*'
			}
		}
	}
	for _, b := range body.Blocks {
		hideBody(out, b.Body)
	}
}
