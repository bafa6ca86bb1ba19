package resource

import "strings"

// Owners are those for whom something was kept: the holders of a request. "" stands for none.
type Owners struct {
	KeyID          string `json:"key_id,omitempty"`
	UserID         string `json:"user_id,omitempty"`
	TeamID         string `json:"team_id,omitempty"`
	ProjectID      string `json:"project_id,omitempty"`
	OrganizationID string `json:"organization_id,omitempty"`
	CustomerID     string `json:"customer_id,omitempty"`
}

// Match says whether every field of whose that is not "" is the same. The zero value matches nobody.
func (o *Owners) Match(whose Owners) bool {
	same := func(want, got string) bool { return want == "" || want == got }
	return whose != Owners{} && same(whose.KeyID, o.KeyID) && same(whose.UserID, o.UserID) && same(whose.TeamID, o.TeamID) &&
		same(whose.ProjectID, o.ProjectID) && same(whose.OrganizationID, o.OrganizationID) && same(whose.CustomerID, o.CustomerID)
}

// Response tells where a stored turn of OpenAI's responses lies: its input and its answer are a
// blob. The record has nothing that a client said.
type Response struct {
	ID        string `json:"id"`   // that the client got: "resp_…"
	Blob      string `json:"blob"` // digest
	Owners    Owners `json:"owners,omitzero"`
	CreatedAt Time   `json:"created_at,omitempty"`
	ExpiresAt Time   `json:"expires_at,omitempty"`
}

// MaxResponseID bounds the id of a stored response.
const MaxResponseID = 128

// Canonicalize does nothing: nothing of it has two forms.
func (r *Response) Canonicalize() {}

// Validate returns an *Invalid that says what is wrong.
func (r *Response) Validate() error {
	switch {
	case !ValidResponseID(r.ID):
		return invalidf("id", "%q is no id of a response", r.ID)
	case !ValidDigest(r.Blob):
		return invalidf("blob", "%q is not a SHA-256 digest of 64 lower-case hexadecimal digits", r.Blob)
	case r.ExpiresAt <= 0:
		return invalidf("expires_at", "must be given")
	}
	return nil
}

// ValidResponseID says whether an id can be one that the gateway gave.
func ValidResponseID(id string) bool {
	rest, ok := strings.CutPrefix(id, "resp_")
	return ok && rest != "" && len(id) <= MaxResponseID && !strings.ContainsFunc(rest, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	})
}
