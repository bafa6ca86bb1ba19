package resource

// AllowsModel says whether the policy's list has the model: by its name, by a "prefix*" or
// by one of its access groups. An empty list has every model.
func (p *Policy) AllowsModel(m *Model) bool { return AllowsModel(p.Models, m.Name, m.AccessGroups...) }

// LevelsAllow says whether every level that has a policy allows the model.
func LevelsAllow(levels []Level, m *Model) bool {
	for i := range levels {
		if p := levels[i].Policy; p != nil && !p.AllowsModel(m) {
			return false
		}
	}
	return true
}

// ServiceAccount says that the key belongs to a team and to no user.
func (k *Key) ServiceAccount() bool { return k.TeamID != "" && k.UserID == "" }
