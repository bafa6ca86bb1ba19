package config

import (
	"github.com/hashicorp/hcl/v2"

	"github.com/conclave-llm/conclave/resource"
)

// promptBlock has no attribute of its own: each has the name of the record's field.
type promptBlock struct{}

func (d *decoder) prompt(b *hcl.Block) {
	var in promptBlock
	before := len(d.diags)
	rest, body := split[resource.Prompt](b.Body, in)
	if !d.body(body, &in) {
		return
	}
	p := Prompt{Position: positionOf(b.DefRange), Resource: resource.Prompt{Meta: owned(), Name: b.Labels[0]}}
	d.rest(rest, &p.Resource)
	if d.valid("prompt", &p.Resource, b.Body, b.DefRange, before) {
		d.out.Resources.Prompts = append(d.out.Resources.Prompts, p)
	}
}
