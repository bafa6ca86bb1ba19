package resource

// Credential is a provider's secret that deployments share.
type Credential struct {
	Meta
	Name        string  `json:"name,omitempty"`         // unique
	DisplayName string  `json:"display_name,omitempty"` // for people; nothing is found by it
	Provider    string  `json:"provider,omitempty"`
	APIKey      *Sealed `json:"api_key,omitempty"`
	APIBase     string  `json:"api_base,omitempty"` // for deployments that name none
	// Options are what else the provider wants to know, such as "region", "project" or
	// "api_version"; Secrets are those of it that nobody may see.
	Options map[string]string  `json:"options,omitempty"`
	Secrets map[string]*Sealed `json:"secrets,omitempty"`
	Egress
}

// Label implements Record.
func (c *Credential) Label() string { return c.Name }

// Canonicalize implements Record.
func (c *Credential) Canonicalize() {}

// Validate implements Record.
func (c *Credential) Validate() error {
	if err := validName("name", c.Name); err != nil {
		return err
	}
	if c.DisplayName != "" {
		if err := validName("display_name", c.DisplayName); err != nil {
			return err
		}
	}
	if c.Provider != "" {
		if err := validName("provider", c.Provider); err != nil {
			return err
		}
	}
	if err := validOptions(c.Options, c.Secrets); err != nil {
		return err
	}
	if err := c.check(c.Secrets); err != nil {
		return err
	}
	return validBase("api_base", c.APIBase)
}
