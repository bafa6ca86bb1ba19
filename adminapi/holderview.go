package adminapi

import (
	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/resource"
)

// spent says what has been spent under a record that can be limited, and, if it is shown
// alone, what its budgets have left.
func (s *Server) spent(kind, id string, d detail) (resource.Money, []client.Account) {
	spend := s.cfg.State.Totals(kind, id).Cost
	if !d.alone {
		return spend, nil
	}
	return spend, s.rs.Accounts(kind + "/" + id)
}

func (s *Server) keyView(k *resource.Key, d detail) client.Key {
	spend, accounts := s.spent(resource.HolderKey, k.ID, d)
	return client.Key{Key: *k, Secret: d.secret, Spend: spend, Accounts: accounts, RotationKey: client.Shown(k.RotationKey)}
}

func (s *Server) teamView(t *resource.Team, d detail) client.Team {
	spend, accounts := s.spent(resource.HolderTeam, t.ID, d)
	return client.Team{Team: *t, Spend: spend, Accounts: accounts}
}

func (s *Server) organizationView(r *resource.Organization, d detail) client.Organization {
	spend, accounts := s.spent(resource.HolderOrganization, r.ID, d)
	return client.Organization{Organization: *r, Spend: spend, Accounts: accounts}
}

func (s *Server) projectView(r *resource.Project, d detail) client.Project {
	spend, accounts := s.spent(resource.HolderProject, r.ID, d)
	return client.Project{Project: *r, Spend: spend, Accounts: accounts}
}

func (s *Server) userView(r *resource.User, d detail) client.User {
	spend, accounts := s.spent(resource.HolderUser, r.ID, d)
	return client.User{User: *r, Spend: spend, Accounts: accounts}
}

func (s *Server) customerView(r *resource.Customer, d detail) client.Customer {
	spend, accounts := s.spent(resource.HolderCustomer, r.ID, d)
	return client.Customer{Customer: *r, Spend: spend, Accounts: accounts}
}

func (s *Server) tagView(r *resource.Tag, d detail) client.Tag {
	spend, accounts := s.spent(resource.HolderTag, r.ID, d)
	return client.Tag{Tag: *r, Spend: spend, Accounts: accounts}
}

func (s *Server) memberView(r *resource.TeamMember, d detail) client.TeamMember {
	spend, accounts := s.spent(resource.HolderMember, r.ID, d)
	return client.TeamMember{TeamMember: *r, Spend: spend, Accounts: accounts}
}
