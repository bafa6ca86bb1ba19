package hclfile

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/conclave-llm/conclave/resource"
)

// value evaluates an attribute; ok is false if it is absent, null or wrong.
func (d *decoder) value(a *hcl.Attribute) (v cty.Value, ok bool) {
	if a == nil {
		return cty.NilVal, false
	}
	v, diags := a.Expr.Value(d.ctx)
	d.diags = append(d.diags, diags...)
	if diags.HasErrors() || v.IsNull() || !v.IsWhollyKnown() {
		return cty.NilVal, false
	}
	return v, true
}

// wrong reports the value of an attribute.
func (d *decoder) wrong(a *hcl.Attribute, format string, args ...any) {
	r := a.Expr.Range()
	d.diags = append(d.diags, &hcl.Diagnostic{
		Severity: hcl.DiagError,
		Summary:  "Invalid value of " + a.Name,
		Detail:   fmt.Sprintf(format, args...),
		Subject:  &r,
	})
}

// money reads an amount of dollars, as a number or a string, exactly. Absent is nil.
func (d *decoder) money(a *hcl.Attribute) *resource.Money {
	v, ok := d.value(a)
	if !ok {
		return nil
	}
	var text string
	switch v.Type() {
	case cty.Number:
		text = decimal(v.AsBigFloat())
	case cty.String:
		text = v.AsString()
	default:
		d.wrong(a, "An amount in dollars is a number.")
		return nil
	}
	m, err := resource.ParseMoney(text)
	if err != nil {
		d.wrong(a, "%s.", err)
		return nil
	}
	return &m
}

// amount is money with 0 for an absent one.
func (d *decoder) amount(a *hcl.Attribute) resource.Money {
	if m := d.money(a); m != nil {
		return *m
	}
	return 0
}

// decimal writes a number as it stood in the file: HCL keeps 512 bits of it, of which 30
// decimals are exact for any amount.
func decimal(f *big.Float) string {
	if f.IsInf() || f.MantExp(nil) > 64 {
		return "beyond"
	}
	s := f.Text('f', 30)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// json reads any value as JSON. Absent is nil.
func (d *decoder) json(a *hcl.Attribute) json.RawMessage {
	v, ok := d.value(a)
	if !ok {
		return nil
	}
	b, err := ctyjson.Marshal(v, v.Type())
	if err != nil {
		d.wrong(a, "It cannot be written as JSON: %s.", err)
		return nil
	}
	return b
}

// time reads a time in RFC 3339. Absent is 0.
func (d *decoder) time(a *hcl.Attribute) resource.Time {
	v, ok := d.value(a)
	if !ok {
		return 0
	}
	if v.Type() != cty.String {
		d.wrong(a, "A time is a string such as \"2030-01-31T00:00:00Z\".")
		return 0
	}
	t, err := time.Parse(time.RFC3339Nano, v.AsString())
	if err != nil {
		d.wrong(a, "%q is not a time such as \"2030-01-31T00:00:00Z\".", v.AsString())
		return 0
	}
	return resource.At(t)
}
