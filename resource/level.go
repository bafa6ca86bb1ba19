package resource

import "slices"

// The kinds of holders: who can be limited.
const (
	HolderOrganization = "organization"
	HolderTeam         = "team"
	HolderProject      = "project"
	HolderUser         = "user"
	HolderMember       = "member" // of a team; the id is TEAM/USER
	HolderKey          = "key"
	HolderCustomer     = "customer"
	HolderTag          = "tag"
	HolderModel        = "model"
	HolderDeployment   = "deployment"
	HolderAccessGroup  = "access_group" // of models
)

// Level is one holder in the chain of a request, from the organization down to the key,
// then the customer, the tags, the model and the access groups that have it. Budgets and limits are reserved in every
// level or in none.
type Level struct {
	Kind      string
	ID        string
	Name      string // for messages; "" if it has none
	Allowance *Allowance
	Policy    *Policy // nil for models, access groups and deployments, which have only an allowance
}

// LevelOf makes the level of a record that can be limited; false for any other record.
func LevelOf(r Record) (Level, bool) {
	l := Level{ID: r.Head().ID, Name: r.Label()}
	switch r := r.(type) {
	case *Organization:
		l.Kind, l.Policy = HolderOrganization, &r.Policy
	case *Team:
		l.Kind, l.Policy = HolderTeam, &r.Policy
	case *Project:
		l.Kind, l.Policy = HolderProject, &r.Policy
	case *User:
		l.Kind, l.Policy, l.Name = HolderUser, &r.Policy, r.Name
	case *TeamMember:
		l.Kind, l.Policy = HolderMember, &r.Policy
	case *Key:
		l.Kind, l.Policy = HolderKey, &r.Policy
	case *Customer:
		l.Kind, l.Policy, l.Name = HolderCustomer, &r.Policy, r.Name
	case *Tag:
		l.Kind, l.Policy = HolderTag, &r.Policy
	case *Model:
		l.Kind, l.Allowance = HolderModel, &r.Allowance
	case *AccessGroup:
		l.Kind, l.Allowance = HolderAccessGroup, &r.Allowance
	case *Deployment:
		l.Kind, l.Allowance, l.Name = HolderDeployment, &r.Allowance, r.Name
	default:
		return Level{}, false
	}
	if l.Policy != nil {
		l.Allowance = &l.Policy.Allowance
	}
	return l, true
}

// HolderOf gives the kind of holder that a record is and what it may spend; "" and nil for a
// record that cannot be limited.
func HolderOf(r Record) (kind string, a *Allowance) {
	l, _ := LevelOf(r)
	return l.Kind, l.Allowance
}

// ChosenCallbacks are the names of the callbacks that the levels choose: those of the nearest of key, member, user,
// project, team and organization that names any, and those of the customer and the tags.
// NoCallbacks alone says that they want none.
func ChosenCallbacks(levels []Level) (chosen []string) {
	nearest := false
	for _, level := range slices.Backward(levels) {
		p := level.Policy
		if p == nil || len(p.Callbacks) == 0 {
			continue
		}
		if k := level.Kind; k != HolderCustomer && k != HolderTag {
			if nearest {
				continue
			}
			nearest = true
		}
		for _, name := range p.Callbacks {
			if name == NoCallbacks {
				return []string{NoCallbacks}
			}
			if !slices.Contains(chosen, name) {
				chosen = append(chosen, name)
			}
		}
	}
	return chosen
}
