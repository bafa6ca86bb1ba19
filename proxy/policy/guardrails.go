package policy

import (
	"bytes"
	"encoding/json"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// CheckGuardrails refuses a request that names guardrails itself, where a level's metadata say
// {"guardrails": {"modify_guardrails": false}}, as LiteLLM has it.
func CheckGuardrails(levels []resource.Level, asked []string) error {
	if len(asked) == 0 {
		return nil
	}
	for i := range levels {
		p := levels[i].Policy
		if p == nil || !bytes.Contains(p.Metadata, []byte("modify_guardrails")) {
			continue
		}
		var m struct {
			Guardrails struct {
				Modify *bool `json:"modify_guardrails"`
			} `json:"guardrails"`
		}
		if json.Unmarshal(p.Metadata, &m) == nil && m.Guardrails.Modify != nil && !*m.Guardrails.Modify {
			return &llm.Error{
				Kind: llm.Forbidden, Code: "guardrails_not_allowed", Param: "guardrails", Scope: levels[i].Kind, Entity: levels[i].ID,
				Message: "The request may not choose its guardrails.",
			}
		}
	}
	return nil
}
