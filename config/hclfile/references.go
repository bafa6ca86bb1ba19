package hclfile

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/conclave-llm/conclave/resource"
)

// literals finds the references that stand in HCL as they are.
func literals(body *hclsyntax.Body) map[string][]hcl.Range {
	out := map[string][]hcl.Range{}
	_ = hclsyntax.VisitAll(body, func(n hclsyntax.Node) hcl.Diagnostics {
		t, ok := n.(*hclsyntax.TemplateExpr)
		if !ok || !t.IsStringLiteral() {
			return nil
		}
		if v, _ := t.Value(nil); v.Type() == cty.String && v.IsKnown() && !v.IsNull() {
			if name, ok := resource.VariableName(v.AsString()); ok {
				out[name] = append(out[name], t.Range())
			}
		}
		return nil
	})
	return out
}
