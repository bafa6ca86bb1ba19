package config

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/conclave-llm/conclave/resource"
)

// blockEnvironment is the block of the cluster's variables.
const blockEnvironment = "environment"

// refer makes env(NAME) of a variable that the cluster has, or will have by this file, a
// reference to it: every node reads it for itself, and its own environment counts before it.
// Where a value of this machine is meant, as in the node block, plain is used instead.
func (l *loader) refer(blocks hcl.Blocks) {
	l.declared = map[string]bool{}
	for _, b := range blocks {
		if body, ok := b.Body.(*hclsyntax.Body); ok && b.Type == blockEnvironment {
			for name := range body.Attributes {
				l.declared[name] = true
			}
		}
	}
}

// plain does something during which env(NAME) is the value of this machine.
func (l *loader) plain(do func()) {
	declared, known := l.declared, l.Known
	l.declared, l.Known = nil, nil
	do()
	l.declared, l.Known = declared, known
}

// lookup is what env(NAME) gives.
func (l *loader) lookup(name string) (string, bool) {
	if l.declared[name] {
		return referencePrefix + name, true
	}
	if v, ok := l.env(name); ok {
		return v, true
	}
	if l.Known != nil && l.Known(name) {
		return referencePrefix + name, true
	}
	return "", false
}

// referencePrefix begins a reference to a variable.
const referencePrefix = "env://"

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
			d.out.Resources.variable(name, text.AsString(), positionOf(a.NameRange), func(err error) {
				d.report(a.NameRange, "Invalid variable", "%s.", err)
			})
		}
	}
}

// variable declares a variable, or reports what is wrong with its name.
func (r *Resources) variable(name, value string, at Position, report func(error)) {
	v := resource.Variable{Meta: resource.Meta{ID: name}, Value: &resource.Sealed{}} // is sealed when it is applied
	if err := v.Validate(); err != nil {
		report(err)
		return
	}
	if r.Environment == nil {
		r.Environment, r.EnvironmentAt = map[string]Secret{}, map[string]Position{}
	}
	r.Environment[name], r.EnvironmentAt[name] = Secret(value), at
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
