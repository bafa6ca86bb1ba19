package declare

import (
	"time"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// planHolder plans a record that can be limited; budget is the name of its shared budget, ""
// for none. fill, which may be nil, completes the record.
func planHolder[R any, P records.Of[R]](
	p *planner, d *File, kind, prefix, name string, next, now P, budget string, fill func() error,
	put func(next P, read uint64, shared *resource.Budget, at time.Time) (fsm.Command, error),
) error {
	var shared *resource.Budget
	complete := func() (err error) {
		_, a := resource.HolderOf(next)
		if a.BudgetID, shared, err = p.sharedBudget(d, budget); err != nil || fill == nil {
			return err
		}
		return fill()
	}
	return plan(p, kind, prefix, name, next, now, complete, func(next P, read uint64) (fsm.Command, error) {
		return put(next, read, shared, p.cfg.Now())
	})
}

// organization resolves an organization by name; "" is none.
func (p *planner) organization(name string) (string, error) {
	o, ok := byName(p.cat.Tables().Organizations, name)
	return p.refer("organization", name, idOf(o, ok))
}

// team resolves a team by name; "" is none.
func (p *planner) team(name string) (string, error) {
	t, ok := byName(p.cat.Tables().Teams, name)
	return p.refer("team", name, idOf(t, ok))
}

func (p *planner) organizations(d *File) error {
	for i := range d.Organizations {
		r := d.Organizations[i].Record
		now, ok := byName(p.cat.Tables().Organizations, r.Name)
		fill := func() error {
			r.Blocked = ok && now.Blocked // no part of what the file says
			return nil
		}
		if err := planHolder(p, d, "organization", "org", r.Name, &r, now, d.Organizations[i].Budget, fill, records.PutHolder[resource.Organization]); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) teams(d *File) error {
	for i := range d.Teams {
		r := d.Teams[i].Record
		now, ok := byName(p.cat.Tables().Teams, r.Name)
		fill := func() (err error) {
			r.Blocked = ok && now.Blocked
			r.OrganizationID, err = p.organization(d.Teams[i].Organization)
			return err
		}
		if err := planHolder(p, d, "team", "team", r.Name, &r, now, d.Teams[i].Budget, fill, records.PutTeam); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) projects(d *File) error {
	for i := range d.Projects {
		r := d.Projects[i].Record
		now, ok := byName(p.cat.Tables().Projects, r.Name)
		fill := func() (err error) {
			r.Blocked = ok && now.Blocked
			r.TeamID, err = p.team(d.Projects[i].Team)
			return err
		}
		if err := planHolder(p, d, "project", "proj", r.Name, &r, now, d.Projects[i].Budget, fill, records.PutHolder[resource.Project]); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) users(d *File) error {
	for i := range d.Users {
		r := d.Users[i].Record
		now, ok := p.cfg.State.User(r.ID)
		fill := func() (err error) {
			r.Blocked = ok && now.Blocked
			r.OrganizationID, err = p.organization(d.Users[i].Organization)
			return err
		}
		if err := planHolder(p, d, "user", "", r.ID, &r, now, d.Users[i].Budget, fill, records.PutHolder[resource.User]); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) customers(d *File) error {
	for i := range d.Customers {
		r := d.Customers[i].Record
		now, ok := p.cfg.State.Customer(r.ID)
		fill := func() error {
			r.Blocked = ok && now.Blocked
			return nil
		}
		if err := planHolder(p, d, "customer", "", r.ID, &r, now, d.Customers[i].Budget, fill, records.PutHolder[resource.Customer]); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) tags(d *File) error {
	for i := range d.Tags {
		r := d.Tags[i].Record
		now, _ := p.cat.Tag(r.ID)
		if err := planHolder(p, d, "tag", "", r.ID, &r, now, d.Tags[i].Budget, nil, records.PutHolder[resource.Tag]); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) keys(d *File) error {
	for i := range d.Keys {
		r := d.Keys[i].Record
		now, ok := p.cfg.State.KeyByName(r.Name)
		fill := func() (err error) {
			r.Blocked = ok && now.Blocked
			if r.TeamID, err = p.team(d.Keys[i].Team); err != nil {
				return err
			}
			return p.project(d, &r, d.Keys[i].Project)
		}
		if err := planHolder(p, d, "key", "key", r.Name, &r, now, d.Keys[i].Budget, fill, records.PutKey); err != nil {
			return err
		}
	}
	return nil
}

// project puts a key into a project by name, and so into its team.
func (p *planner) project(d *File, k *resource.Key, name string) (err error) {
	stored, ok := byName(p.cat.Tables().Projects, name)
	if k.ProjectID, err = p.refer("project", name, idOf(stored, ok)); err != nil || name == "" || k.TeamID != "" {
		return err
	}
	for i := range d.Projects {
		if d.Projects[i].Record.Name == name {
			k.TeamID, err = p.team(d.Projects[i].Team)
			return err
		}
	}
	k.TeamID = stored.TeamID
	return nil
}
