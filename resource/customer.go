package resource

// Customer is an end user of an application: its id is what requests carry as their user.
// A record exists only for those that are blocked or have a policy of their own. Customers
// are looked up by id, not in the Catalog.
type Customer struct {
	Meta
	Policy
	Name         string `json:"name,omitempty"` // LiteLLM's alias; not unique
	DefaultModel string `json:"default_model,omitempty"`
	Region       string `json:"region,omitempty"` // LiteLLM's allowed_model_region
	Blocked      bool   `json:"blocked,omitempty" cbor:"-"`
}

// Label implements Record.
func (c *Customer) Label() string { return "" }

// Canonicalize implements Record.
func (c *Customer) Canonicalize() { c.canonicalize() }

// Validate implements Record.
func (c *Customer) Validate() error {
	if err := validName("id", c.ID); err != nil {
		return err
	}
	if c.Name != "" {
		if err := validName("name", c.Name); err != nil {
			return err
		}
	}
	return c.validate()
}
