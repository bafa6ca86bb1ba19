package resource

// Team is a group of keys that share models, budgets and limits. Blocked is a flag of the
// frame around the stored bytes, as a key's is.
type Team struct {
	Meta
	Policy
	Name           string `json:"name,omitempty"` // unique; LiteLLM's team_alias
	OrganizationID string `json:"organization_id,omitempty"`
	Blocked        bool   `json:"blocked,omitempty" cbor:"-"`
}

// Label implements Record.
func (t *Team) Label() string { return t.Name }

// Canonicalize implements Record.
func (t *Team) Canonicalize() {
	t.canonicalize()
}

// Validate implements Record.
func (t *Team) Validate() error {
	if t.Name != "" {
		if err := validName("name", t.Name); err != nil {
			return err
		}
	}
	return t.validate()
}
