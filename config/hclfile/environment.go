package hclfile

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/resource"
)

// blockEnvironment is the block of the cluster's variables.
const blockEnvironment = "environment"

// refer makes env(NAME) of a variable that the cluster has, or will have by this file, a
// reference to it: every node reads it for itself, and its own environment counts before it.
// Where a value of this machine is meant, as in the node block, plain is used instead.
func (d *decoder) refer(blocks hcl.Blocks) {
	d.declared = map[string]bool{}
	for _, b := range blocks {
		if body, ok := b.Body.(*hclsyntax.Body); ok && b.Type == blockEnvironment {
			for name := range body.Attributes {
				d.declared[name] = true
			}
		}
	}
}

// plain does something during which env(NAME) is the value of this machine.
func (d *decoder) plain(do func()) {
	declared, known := d.declared, d.Known
	d.declared, d.Known = nil, nil
	do()
	d.declared, d.Known = declared, known
}

// lookup is what env(NAME) gives.
func (d *decoder) lookup(name string) (string, bool) {
	if d.declared[name] {
		return config.ReferencePrefix + name, true
	}
	if v, ok := d.Env(name); ok {
		return v, true
	}
	if d.Known != nil && d.Known(name) {
		return config.ReferencePrefix + name, true
	}
	return "", false
}

// environment reads the block of the cluster's variables.
func (d *decoder) environment(b *hcl.Block) {
	attrs, diags := b.Body.JustAttributes()
	d.diags = append(d.diags, diags...)
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		a := attrs[name]
		v, diags := a.Expr.Value(d.ctx)
		if d.diags = append(d.diags, diags...); diags.HasErrors() {
			continue
		}
		text, err := convert.Convert(v, cty.String)
		if err != nil || text.IsNull() || !text.IsKnown() || text.AsString() == "" {
			d.report(a.Expr.Range(), "Invalid variable", "The value of %s is not text, or empty.", name)
			continue
		}
		if d.unique("variable", name, a.NameRange) {
			d.out.Resources.Declare(name, text.AsString(), config.PositionOf(a.NameRange), func(err error) {
				d.report(a.NameRange, "Invalid variable", "%s.", err)
			})
		}
	}
}

// referring says which field of a record refers to a variable though it is no secret, ""
// for none: such a field is not resolved on the nodes. The configuration of a plugin is.
func referring(r resource.Record) string {
	b, err := json.Marshal(r)
	if err != nil {
		return ""
	}
	var doc map[string]any
	if json.Unmarshal(b, &doc) != nil {
		return ""
	}
	for _, field := range slices.Sorted(maps.Keys(doc)) {
		if field != "config" && refers(doc[field]) {
			return field
		}
	}
	return ""
}

func refers(v any) bool {
	switch v := v.(type) {
	case string:
		_, ok := resource.VariableName(v)
		return ok
	case []any:
		return slices.ContainsFunc(v, refers)
	case map[string]any:
		for _, e := range v {
			if refers(e) {
				return true
			}
		}
	}
	return false
}
