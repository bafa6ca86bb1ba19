package hclfile

import (
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/conclave-llm/conclave/resource"
)

// priceBlock has input and output; the names of all other prices are resource's.
type priceBlock struct {
	Input    *hcl.Attribute `hcl:"input"`
	Output   *hcl.Attribute `hcl:"output"`
	Request  *hcl.Attribute `hcl:"request,optional"`
	GPUs     *hcl.Attribute `hcl:"gpus,optional"`
	Variants []variantBlock `hcl:"variant,block"`
	Rest     hcl.Body       `hcl:",remain"` // of which others reads the attributes
	Body     hcl.Body       `hcl:",body"`
}

type variantBlock struct {
	Above   int64          `hcl:"above,optional"`
	Service string         `hcl:"service,optional"`
	Input   *hcl.Attribute `hcl:"input,optional"`
	Output  *hcl.Attribute `hcl:"output,optional"`
	Rest    hcl.Body       `hcl:",remain"`
	Body    hcl.Body       `hcl:",body"`
}

// others are the attributes that the block has no field for. HCL's own way to get them
// refuses a body with blocks.
func others(body hcl.Body, block any) hcl.Attributes {
	out := hcl.Attributes{}
	if native, ok := body.(*hclsyntax.Body); ok {
		for name, a := range native.Attributes {
			if !hasAttribute(block, name) {
				out[name] = a.AsHCLAttribute()
			}
		}
	}
	return out
}

func (d *decoder) price(in *priceBlock) *resource.Price {
	if in == nil {
		return nil
	}
	d.need(in.Body, "input", in.Input)
	d.need(in.Body, "output", in.Output)
	p := &resource.Price{
		Input: d.amount(in.Input), Output: d.amount(in.Output), Request: d.amount(in.Request),
		Units: resource.Units{GPUs: d.amount(in.GPUs)},
	}
	rest := others(in.Body, *in)
	for _, name := range slices.Sorted(maps.Keys(rest)) {
		a := rest[name]
		if class := p.Class(name); class != nil {
			*class = d.money(a)
		} else if unit := p.Unit(name); unit != nil {
			*unit = d.rate(a)
		} else {
			d.report(a.NameRange, "Unsupported argument", "A price has no argument named %q.", name)
		}
	}
	for i := range in.Variants {
		p.Variants = append(p.Variants, d.variant(&in.Variants[i]))
	}
	return p
}

func (d *decoder) variant(in *variantBlock) resource.PriceVariant {
	v := resource.PriceVariant{Above: in.Above, Service: in.Service, Input: d.money(in.Input), Output: d.money(in.Output)}
	rest := others(in.Body, *in)
	for _, name := range slices.Sorted(maps.Keys(rest)) {
		a := rest[name]
		if class := v.Class(name); class != nil {
			*class = d.money(a)
		} else {
			d.report(a.NameRange, "Unsupported argument", "A variant of a price has no argument named %q.", name)
		}
	}
	return v
}

// rate reads dollars for one unit: a number, or a string with one.
func (d *decoder) rate(a *hcl.Attribute) resource.Rate {
	v, ok := d.value(a)
	if !ok {
		return 0
	}
	var text string
	switch v.Type() {
	case cty.Number:
		text = decimal(v.AsBigFloat())
	case cty.String:
		text = v.AsString()
	default:
		d.wrong(a, "A price in dollars is a number.")
		return 0
	}
	r, err := resource.ParseRate(text)
	if err != nil {
		d.wrong(a, "%s.", err)
		return 0
	}
	return r
}
