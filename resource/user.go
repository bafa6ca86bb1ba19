package resource

import "slices"

// UserRole is what a person may do beside inference.
type UserRole string

// The roles of a user, as LiteLLM names them. The zero value is UserInternal.
const (
	UserAdmin          UserRole = "proxy_admin"
	UserAdminViewer    UserRole = "proxy_admin_viewer"
	UserInternal       UserRole = "internal_user"
	UserInternalViewer UserRole = "internal_user_viewer"
)

// UserRoles lists the roles that a user may have.
var UserRoles = []UserRole{UserAdmin, UserAdminViewer, UserInternal, UserInternalViewer}

// User is a person with keys of their own. Users are looked up by id, not in the Catalog.
type User struct {
	Meta
	Policy
	Name           string   `json:"name,omitempty"`  // LiteLLM's user_alias; not unique
	Email          string   `json:"email,omitempty"` // unique if set, compared case-folded
	Role           UserRole `json:"role,omitempty"`
	OrganizationID string   `json:"organization_id,omitempty"`
	ServiceAccount bool     `json:"service_account,omitempty"`
	Blocked        bool     `json:"blocked,omitempty" cbor:"-"`
	// OrganizationAdmin says that the user manages the teams, projects, users and keys of his
	// organization; LiteLLM's org_admin.
	OrganizationAdmin bool `json:"organization_admin,omitempty"`
}

// Label implements Record.
func (u *User) Label() string { return u.Email }

// Canonicalize implements Record.
func (u *User) Canonicalize() {
	u.canonicalize()
	if u.Role == "" {
		u.Role = UserInternal
	}
}

// Validate implements Record.
func (u *User) Validate() error {
	for _, f := range []struct{ field, v string }{{"name", u.Name}, {"email", u.Email}} {
		if f.v == "" {
			continue
		}
		if err := validName(f.field, f.v); err != nil {
			return err
		}
	}
	if u.Role != "" && !slices.Contains(UserRoles, u.Role) {
		return invalidf("role", "%q is not one of %v", u.Role, UserRoles)
	}
	if u.OrganizationAdmin && u.OrganizationID == "" {
		return invalidf("organization_admin", "the user is in no organization")
	}
	return u.validate()
}

// TeamMember is a user's place in a team, with what the user may spend there. Its id is
// TEAM/USER.
type TeamMember struct {
	Meta
	Policy
	TeamID string `json:"team_id,omitempty"`
	UserID string `json:"user_id,omitempty"`
	Admin  bool   `json:"admin,omitempty"` // may write the team's keys and members
}

// TeamMemberID makes the id of a user's place in a team.
func TeamMemberID(team, user string) string { return team + "/" + user }

// Label implements Record.
func (m *TeamMember) Label() string { return "" }

// Canonicalize implements Record.
func (m *TeamMember) Canonicalize() { m.canonicalize() }

// Validate implements Record.
func (m *TeamMember) Validate() error {
	if m.TeamID == "" {
		return invalidf("team_id", "a member belongs to a team")
	}
	if m.UserID == "" {
		return invalidf("user_id", "a member is a user")
	}
	if m.ID != "" && m.ID != TeamMemberID(m.TeamID, m.UserID) {
		return invalidf("id", "%q is not %q", m.ID, TeamMemberID(m.TeamID, m.UserID))
	}
	return m.validate()
}
