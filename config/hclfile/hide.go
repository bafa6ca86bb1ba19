package hclfile

import (
	"bytes"
	"regexp"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

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

// secretNames are the attributes whose text is not printed with an error.
var secretNames = map[string]bool{"master_key": true, "kek": true, "kek_next": true, "api_key": true, "secret": true, "rotation_key": true}

// secretLine finds a literal secret in a file too broken to be parsed.
var secretLine = regexp.MustCompile(`\b(?:master_key|kek_next|kek|api_key|secret|rotation_key)[ \t]*=[ \t]*"([^"\n]*)`)
