package resource

// Principal is who a request comes from. It is immutable and shared between requests.
type Principal struct {
	Master       bool          // the master key
	Key          *Key          // nil for the master key
	Organization *Organization // the team's, or else the user's; nil if there is none
	Team         *Team         // nil if the key has none
	Project      *Project      // nil if the key has none
	User         *User         // nil if the key has none, or the user has no record
	Member       *TeamMember   // the user's place in the team; nil if there is none

	// Auth is the name of the auth plugin that knows who it is; "": the gateway knows by itself.
	Auth string
	// Unkept says that the auth plugin names no key: Key is made for the request, and is no record.
	Unkept     bool
	CustomerID string // the end user, as the auth plugin says; "": the request may say
}

// IsAdmin says that the principal may change everything.
func (p *Principal) IsAdmin() bool {
	return p.Master || (p.Key != nil && p.Key.Role == RoleAdmin)
}

// MayRead says that the principal may read all records.
func (p *Principal) MayRead() bool {
	return p.IsAdmin() || (p.Key != nil && p.Key.Role == RoleViewer)
}

// Owners are the ids of the principal's chain, for a customer of its own or none.
func (p *Principal) Owners(customer string) Owners {
	o := Owners{CustomerID: customer}
	if p.Key != nil {
		o.KeyID, o.UserID, o.ProjectID = p.Key.ID, p.Key.UserID, p.Key.ProjectID
	}
	if p.Team != nil {
		o.TeamID = p.Team.ID
	}
	if p.Organization != nil {
		o.OrganizationID = p.Organization.ID
	}
	if p.Project != nil {
		o.ProjectID = p.Project.ID
	}
	return o
}

// Actor names the principal in audit entries: "master" or "key/ID".
func (p *Principal) Actor() string {
	if p.Key == nil {
		return "master"
	}
	return "key/" + p.Key.ID
}

// Levels appends the principal's chain to to: organization, team, project, user, team
// member, key. The master key has none.
func (p *Principal) Levels(to []Level) []Level {
	if o := p.Organization; o != nil {
		to = append(to, Level{HolderOrganization, o.ID, o.Name, &o.Allowance, &o.Policy})
	}
	if t := p.Team; t != nil {
		to = append(to, Level{HolderTeam, t.ID, t.Name, &t.Allowance, &t.Policy})
	}
	if r := p.Project; r != nil {
		to = append(to, Level{HolderProject, r.ID, r.Name, &r.Allowance, &r.Policy})
	}
	if u := p.User; u != nil {
		to = append(to, Level{HolderUser, u.ID, u.Name, &u.Allowance, &u.Policy})
	}
	if m := p.Member; m != nil {
		to = append(to, Level{HolderMember, m.ID, "", &m.Allowance, &m.Policy})
	}
	if k := p.Key; k != nil {
		to = append(to, Level{HolderKey, k.ID, k.Name, &k.Allowance, &k.Policy})
	}
	return to
}
