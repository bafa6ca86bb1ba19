package policy

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
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

// Choice is what a request and its levels say about its guardrails: those that it names (asked) and its levels
// have, and what the levels and the permissions of its key switch off. key is nil for the master key.
func Choice(levels []resource.Level, key *resource.Key, asked []string) guardrail.Choice {
	c := guardrail.Choice{Asked: Guardrails(levels, asked)}
	for i := range levels {
		l := &levels[i]
		if l.Policy == nil || l.Kind == resource.HolderCustomer || l.Kind == resource.HolderTag { // which clients name
			continue
		}
		c.NoDefault = c.NoDefault || l.Policy.NoGuardrails
	}
	if key == nil || len(key.Permissions) == 0 {
		return c
	}
	for name, on := range key.Permissions {
		switch {
		case slices.Contains(resource.PermissionNames, name), slices.Contains(resource.UnservedPermissions, name):
		case on:
			c.On = append(c.On, name)
		default:
			c.Off = append(c.Off, name)
		}
	}
	return c
}
