package resource

// Member is a registered node of the cluster. A removed one stays as a tombstone: its id
// never joins again.
type Member struct {
	Meta
	Name       string `json:"name,omitempty"`    // as configured; unique among living members
	Address    string `json:"address,omitempty"` // cluster port, as the others reach it
	ClientURL  string `json:"client_url,omitempty"`
	Version    string `json:"binary,omitempty"`      // of the program
	FSMVersion uint32 `json:"fsm_version,omitempty"` // newest that the program knows
	Removed    bool   `json:"removed,omitempty"`
}

// Label implements Record.
func (m *Member) Label() string { return m.Name }

// Canonicalize implements Record.
func (m *Member) Canonicalize() {}

// Validate implements Record.
func (m *Member) Validate() error {
	if m.ID == "" {
		return invalidf("id", "a member has an id")
	}
	if err := validName("name", m.Name); err != nil {
		return err
	}
	if m.Address == "" {
		return invalidf("address", "a member has an address")
	}
	return nil
}
