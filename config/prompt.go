package config

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	ctyjson "github.com/zclconf/go-cty/cty/json"

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
	p := Prompt{Position: positionOf(b.DefRange), Resource: resource.Prompt{Meta: owned(), Name: b.Labels[0]}}
	d.rest(rest, &p.Resource)
	if d.valid("prompt", &p.Resource, b.Body, b.DefRange, before) {
		d.out.Resources.Prompts = append(d.out.Resources.Prompts, p)
	}
}

// promptTemplate reads LiteLLM's custom prompt template, nil for none.
func (d *yamlDecoder) promptTemplate(params *mapping) *resource.PromptTemplate {
	t := &resource.PromptTemplate{
		Initial: params.text("initial_prompt_value"), Final: params.text("final_prompt_value"),
		BOS: params.text("bos_token"), EOS: params.text("eos_token"),
	}
	roles := d.mapping(params.of("roles"), params.take("roles"))
	for _, k := range roles.keys {
		frame := d.mapping(roles.of(k.Value), roles.take(k.Value))
		if t.Roles == nil {
			t.Roles = map[string]resource.PromptFrame{}
		}
		t.Roles[k.Value] = resource.PromptFrame{Pre: frame.text("pre_message"), Post: frame.text("post_message")}
		frame.end()
	}
	if len(t.Roles) == 0 && t.Initial+t.Final+t.BOS+t.EOS == "" {
		return nil
	}
	return t
}

// dotpromptFunction is dotprompt(PATH): a .prompt file as a version of a prompt. A relative path starts
// at the folder of the configuration file.
func (l *loader) dotpromptFunction() function.Function {
	return function.New(&function.Spec{
		Description: "A .prompt file as a version of a prompt.",
		Params:      []function.Parameter{{Name: "path", Type: cty.String}},
		Type:        function.StaticReturnType(cty.DynamicPseudoType),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			path := args[0].AsString()
			if !filepath.IsAbs(path) {
				path = filepath.Join(filepath.Dir(l.path), path)
			}
			v, err := l.dotprompt(path)
			if err != nil {
				return cty.NilVal, function.NewArgErrorf(0, "%s", err)
			}
			return v, nil
		},
	})
}

func (l *loader) dotprompt(path string) (cty.Value, error) {
	src, err := l.read(path)
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
