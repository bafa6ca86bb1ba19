package hclfile

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/conclave-llm/conclave/resource/shape"
)

// undeclared are the fields of records that no attribute has the name of: what the server
// writes, and what a file says in a label, a block or by another name.
var undeclared = []string{
	"id", "owner", "created_at", "created_by", "updated_at", "updated_by", "version", "blocked", "name",
	"hash", "hint", "old_hashes", "next", "turns", "rotate_at", "rotated_at", "rotation_key", "stored_in",
	"team_id", "organization_id", "project_id", "budget_id", "credential_id", "model_id", "api_key", "secrets",
	"last", "budgets", "limits", "model_limits", "sessions", "price", "terms", "value",
}

// reserved says whether no attribute of a file has the name of the record's field.
func reserved(field string) bool { return slices.Contains(undeclared, field) }

// split takes the attributes out of a body that its blocks, as gohcl reads them, do not have,
// but the record R has a field for: they are read as JSON. So a field of a record can be
// declared without a line in blocks.go.
func split[R any](body hcl.Body, blocks ...any) (rest []*hclsyntax.Attribute, left hcl.Body) {
	native, ok := body.(*hclsyntax.Body)
	if !ok {
		return nil, body
	}
	fields := fieldsOf(reflect.TypeFor[R]())
	smaller := *native
	smaller.Attributes = hclsyntax.Attributes{}
	for name, a := range native.Attributes {
		free := slices.Contains(fields, name) && !reserved(name)
		if !free || slices.ContainsFunc(blocks, func(b any) bool { return hasAttribute(b, name) }) {
			smaller.Attributes[name] = a
			continue
		}
		rest = append(rest, a)
	}
	smaller.Blocks = nil
	for _, b := range native.Blocks {
		free := len(b.Labels) == 0 && slices.Contains(fields, b.Type) && !reserved(b.Type)
		if !free || slices.ContainsFunc(blocks, func(in any) bool { return hasAttribute(in, b.Type) }) {
			smaller.Blocks = append(smaller.Blocks, b)
			continue
		}
		rest = append(rest, objectOf(b))
	}
	slices.SortFunc(rest, func(a, b *hclsyntax.Attribute) int { return a.SrcRange.Start.Byte - b.SrcRange.Start.Byte })
	return rest, &smaller
}

// objectOf is a block as the attribute that says the same: tls { ca = "…" } is tls = { ca = "…" }.
func objectOf(b *hclsyntax.Block) *hclsyntax.Attribute {
	object := &hclsyntax.ObjectConsExpr{SrcRange: b.Range(), OpenRange: b.OpenBraceRange}
	for name, a := range b.Body.Attributes {
		key := &hclsyntax.LiteralValueExpr{Val: cty.StringVal(name), SrcRange: a.NameRange}
		object.Items = append(object.Items, hclsyntax.ObjectConsItem{KeyExpr: key, ValueExpr: a.Expr})
	}
	for _, inner := range b.Body.Blocks {
		a := objectOf(inner)
		key := &hclsyntax.LiteralValueExpr{Val: cty.StringVal(a.Name), SrcRange: a.NameRange}
		object.Items = append(object.Items, hclsyntax.ObjectConsItem{KeyExpr: key, ValueExpr: a.Expr})
	}
	return &hclsyntax.Attribute{Name: b.Type, Expr: object, SrcRange: b.Range(), NameRange: b.TypeRange, EqualsRange: b.OpenBraceRange}
}

// splitBlocks is split of the nested blocks of a kind in a body that split has made; the
// attributes that it takes out are by label.
func splitBlocks[R any](body hcl.Body, kind string, blocks ...any) map[string][]*hclsyntax.Attribute {
	native, ok := body.(*hclsyntax.Body)
	if !ok {
		return nil
	}
	out := map[string][]*hclsyntax.Attribute{}
	native.Blocks = slices.Clone(native.Blocks)
	for i, b := range native.Blocks {
		if b.Type != kind || len(b.Labels) == 0 {
			continue
		}
		rest, left := split[R](b.Body, blocks...)
		if body, ok := left.(*hclsyntax.Body); ok {
			smaller := *b
			smaller.Body = body
			native.Blocks[i], out[b.Labels[0]] = &smaller, rest
		}
	}
	return out
}

// fieldsOf are the names of a record's fields in JSON.
func fieldsOf(t reflect.Type) (names []string) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			names = append(names, fieldsOf(f.Type)...)
		case name != "" && name != "-":
			names = append(names, name)
		}
	}
	return names
}

// hasAttribute says whether gohcl reads the attribute or block into the struct.
func hasAttribute(block any, name string) bool {
	for f := range reflect.TypeOf(block).Fields() {
		if tag, _, _ := strings.Cut(f.Tag.Get("hcl"), ","); tag == name {
			return true
		}
	}
	return false
}

// rest reads what split took out into the record.
func (d *decoder) rest(attrs []*hclsyntax.Attribute, record any) {
	for _, a := range attrs {
		h := a.AsHCLAttribute()
		raw := d.json(h)
		if raw == nil {
			continue
		}
		doc, err := json.Marshal(map[string]json.RawMessage{a.Name: raw})
		if err != nil {
			d.wrong(h, "%s.", fmt.Errorf("encode: %w", err))
			continue
		}
		if err := shape.ReadKnown(doc, record); err != nil {
			d.wrong(h, "%s.", err)
		}
	}
}
