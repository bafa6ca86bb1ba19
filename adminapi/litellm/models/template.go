package models

import (
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// templateFields are LiteLLM's parameters of a custom prompt template, which have the same names here.
var templateFields = [...]string{"roles", "initial_prompt_value", "final_prompt_value", "bos_token", "eos_token"}

// moveTemplate takes a custom prompt template out of params.
func moveTemplate(params, out records.Document) error {
	t := records.Document{}
	for _, name := range templateFields {
		if v, ok := params[name]; ok && !records.IsNull(v) {
			t[name] = v
		}
		delete(params, name)
	}
	if len(t) == 0 {
		return nil
	}
	return out.Set("prompt_template", t)
}

// showTemplate puts a custom prompt template into params.
func showTemplate(params map[string]any, t *resource.PromptTemplate) {
	if t == nil {
		return
	}
	for name, text := range map[string]string{
		"initial_prompt_value": t.Initial, "final_prompt_value": t.Final, "bos_token": t.BOS, "eos_token": t.EOS,
	} {
		if text != "" {
			params[name] = text
		}
	}
	if len(t.Roles) > 0 {
		params["roles"] = t.Roles
	}
}
