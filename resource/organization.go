package resource

// Organization is a group of teams. Blocked is a flag of the frame around the stored
// bytes, as a key's is.
type Organization struct {
	Meta
	Policy
	Name    string `json:"name,omitempty"` // unique; LiteLLM's organization_alias
	Blocked bool   `json:"blocked,omitempty" cbor:"-"`

	CustomerBudget string `json:"customer_budget,omitempty"` // as a key's, for those of its keys that name none, nor their teams
}

// Label implements Record.
func (o *Organization) Label() string { return o.Name }

// Canonicalize implements Record.
func (o *Organization) Canonicalize() { o.canonicalize() }

// Validate implements Record.
func (o *Organization) Validate() error {
	if err := validName("name", o.Name); err != nil {
		return err
	}
	if err := validCustomerBudget(o.CustomerBudget); err != nil {
		return err
	}
	return o.validate()
}
