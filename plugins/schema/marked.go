package schema

import (
	"encoding/json"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/conclave-llm/conclave/resource"
)

// TakeSecrets takes the texts out of a configuration that the schema of its plugin marks as secret
// ("writeOnly": true), and returns the rest and the texts, by the names that resource.Guardrail.Secrets
// has. Marked are members of the configuration, and members of objects that stand in it. References to
// variables and to secret sources stay, for they tell nothing. Without such a text, and where the
// configuration is no object, it is returned as it is.
func TakeSecrets(registered []*resource.Plugin, kind, name string, config json.RawMessage) (rest json.RawMessage, secrets map[string]string, err error) {
	var root jsonschema.Schema
	var members map[string]json.RawMessage
	if json.Unmarshal(Of(registered, kind, name), &root) != nil || json.Unmarshal(config, &members) != nil {
		return config, nil, nil // Check says what is wrong with it
	}
	secrets = map[string]string{}
	for name, raw := range members {
		property := root.Properties[name]
		if property == nil || strings.Contains(name, ".") {
			continue
		}
		if takeText(property, raw, name, secrets) {
			delete(members, name)
			continue
		}
		var inner map[string]json.RawMessage
		if json.Unmarshal(raw, &inner) != nil {
			continue
		}
		before := len(secrets)
		for field, raw := range inner {
			if takeText(member(property, field), raw, name+"."+field, secrets) {
				delete(inner, field)
			}
		}
		if len(secrets) == before {
			continue
		}
		if members[name], err = json.Marshal(inner); err != nil {
			return nil, nil, err
		}
	}
	if len(secrets) == 0 {
		return config, nil, nil
	}
	rest, err = json.Marshal(members)
	return rest, secrets, err
}

// member is what the schema of an object, or one of several that may stand there, says of a member; nil
// for nothing.
func member(s *jsonschema.Schema, name string) *jsonschema.Schema {
	if p := s.Properties[name]; p != nil {
		return p
	}
	for _, choices := range [][]*jsonschema.Schema{s.OneOf, s.AnyOf} {
		for _, c := range choices {
			if p := c.Properties[name]; p != nil {
				return p
			}
		}
	}
	return s.AdditionalProperties
}

// takeText adds the text to secrets if it is one that the schema marks.
func takeText(s *jsonschema.Schema, raw json.RawMessage, name string, secrets map[string]string) bool {
	if s == nil || !s.WriteOnly {
		return false
	}
	var text string
	if json.Unmarshal(raw, &text) != nil || text == "" || resource.IsSecretRef(text) {
		return false
	}
	if _, refers := resource.VariableName(text); refers {
		return false
	}
	secrets[name] = text
	return true
}
