package resource

// Project is a part of one team's work, with a budget and limits of its own. Keys carry its
// id; a key of another team cannot.
type Project struct {
	Meta
	Policy
	Name        string `json:"name,omitempty"` // unique; LiteLLM's project_alias
	Description string `json:"description,omitempty"`
	TeamID      string `json:"team_id,omitempty"`
	Blocked     bool   `json:"blocked,omitempty" cbor:"-"`
}

// Label implements Record.
func (p *Project) Label() string { return p.Name }

// Canonicalize implements Record.
func (p *Project) Canonicalize() { p.canonicalize() }

// Validate implements Record.
func (p *Project) Validate() error {
	if err := validName("name", p.Name); err != nil {
		return err
	}
	if p.TeamID == "" {
		return invalidf("team_id", "a project belongs to a team")
	}
	if len(p.Description) > 4096 {
		return invalidf("description", "%d bytes are more than 4096", len(p.Description))
	}
	return p.validate()
}
