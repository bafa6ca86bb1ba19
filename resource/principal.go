package resource

// Principal is who a request comes from. It is immutable and shared between requests.
type Principal struct {
	Master bool  // the master key
	Key    *Key  // nil for the master key
	Team   *Team // nil if the key has none
}

// IsAdmin says that the principal may change everything.
func (p *Principal) IsAdmin() bool {
	return p.Master || (p.Key != nil && p.Key.Role == RoleAdmin)
}

// MayRead says that the principal may read all records.
func (p *Principal) MayRead() bool {
	return p.IsAdmin() || (p.Key != nil && p.Key.Role == RoleViewer)
}

// Actor names the principal in audit entries: "master" or "key/ID".
func (p *Principal) Actor() string {
	if p.Key == nil {
		return "master"
	}
	return "key/" + p.Key.ID
}

// AllowsModel says whether both the key's and the team's lists have the model.
func (p *Principal) AllowsModel(model string) bool {
	if p.Key != nil && !AllowsModel(p.Key.Models, model) {
		return false
	}
	return p.Team == nil || AllowsModel(p.Team.Models, model)
}
