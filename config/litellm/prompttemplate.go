package litellm

import "github.com/conclave-llm/conclave/resource"

// promptTemplate reads LiteLLM's custom prompt template, nil for none.
func (d *decoder) promptTemplate(params *mapping) *resource.PromptTemplate {
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
