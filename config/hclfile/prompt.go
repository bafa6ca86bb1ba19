package hclfile

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/config/dotprompt"
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
	p := config.Prompt{Position: config.PositionOf(b.DefRange), Resource: resource.Prompt{Meta: config.Owned(), Name: b.Labels[0]}}
	d.rest(rest, &p.Resource)
	if d.valid("prompt", &p.Resource, b.Body, b.DefRange, before) {
		d.out.Resources.Prompts = append(d.out.Resources.Prompts, p)
	}
}

// dotpromptFunction is dotprompt(PATH): a .prompt file as a version of a prompt. A relative path starts
// at the folder of the configuration file.
func (d *decoder) dotpromptFunction() function.Function {
	return function.New(&function.Spec{
		Description: "A .prompt file as a version of a prompt.",
		Params:      []function.Parameter{{Name: "path", Type: cty.String}},
		Type:        function.StaticReturnType(cty.DynamicPseudoType),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			path := args[0].AsString()
			if !filepath.IsAbs(path) {
				path = filepath.Join(filepath.Dir(d.Path), path)
			}
			v, err := d.dotprompt(path)
			if err != nil {
				return cty.NilVal, function.NewArgErrorf(0, "%s", err)
			}
			return v, nil
		},
	})
}

func (d *decoder) dotprompt(path string) (cty.Value, error) {
	src, err := d.Read(path)
	if err != nil {
		return cty.NilVal, err
	}
	v, err := dotprompt.Parse(src)
	if err != nil {
		return cty.NilVal, fmt.Errorf("%s: %w", path, err)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return cty.NilVal, fmt.Errorf("%s: %w", path, err)
	}
	typ, err := ctyjson.ImpliedType(raw)
	if err != nil {
		return cty.NilVal, fmt.Errorf("%s: %w", path, err)
	}
	return ctyjson.Unmarshal(raw, typ)
}
