package resource

// Tag is a label of requests that has a policy of its own, usually a budget. Tags without a
// record are allowed and only counted. The id is the tag.
type Tag struct {
	Meta
	Policy
	Description string `json:"description,omitempty"`
}

// Label implements Record.
func (t *Tag) Label() string { return t.ID }

// Canonicalize implements Record.
func (t *Tag) Canonicalize() { t.canonicalize() }

// Validate implements Record.
func (t *Tag) Validate() error {
	if err := validName("id", t.ID); err != nil {
		return err
	}
	if len(t.Description) > 4096 {
		return invalidf("description", "%d bytes are more than 4096", len(t.Description))
	}
	return t.validate()
}
