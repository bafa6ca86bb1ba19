package resource

import "encoding/json"

// Team is a group of keys that share models, budgets and limits. Blocked is a flag of the
// frame around the stored bytes, as a key's is.
type Team struct {
	Meta
	Name     string          `json:"name,omitempty"`   // unique; LiteLLM's team_alias
	Models   []string        `json:"models,omitempty"` // names or "prefix*"; empty: all
	BudgetID string          `json:"budget_id,omitempty"`
	Budgets  []Terms         `json:"budgets,omitempty"`
	Limits   Limits          `json:"limits,omitzero"`
	Tags     []string        `json:"tags,omitempty"`
	Metadata json.RawMessage `json:"metadata,omitempty"` // free JSON object
	Blocked  bool            `json:"blocked,omitempty" cbor:"-"`
}

// Label implements Record.
func (t *Team) Label() string { return t.Name }

// Canonicalize implements Record.
func (t *Team) Canonicalize() {
	for i := range t.Budgets {
		t.Budgets[i].canonicalize()
	}
}

// Validate implements Record.
func (t *Team) Validate() error {
	if t.Name != "" {
		if err := validName("name", t.Name); err != nil {
			return err
		}
	}
	if err := validNames("models", t.Models); err != nil {
		return err
	}
	if err := validateTerms("budgets", t.Budgets); err != nil {
		return err
	}
	if err := t.Limits.validate("limits"); err != nil {
		return err
	}
	return validMetadata(t.Metadata)
}
