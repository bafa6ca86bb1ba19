package declare

import (
	"slices"
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
		if a.BudgetID, shared, err = p.sharedBudget(d, budget); err != nil {
			return err
		}
		if err := p.referGroups(next); err != nil || fill == nil {
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
		if ok && now.Name == "" {
			r.Name = ""
		}
		fill := func() (err error) {
			r.Blocked = ok && now.Blocked
			r.OrganizationID, err = p.organization(d.Teams[i].Organization)
			return err
		}
		if err := planHolder(p, d, "team", "team", d.Teams[i].Record.Name, &r, now, d.Teams[i].Budget, fill, records.PutTeam); err != nil {
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
		now, ok := p.key(r.Name)
		if ok && now.Name == "" {
			r.Name = ""
		}
		fill := func() (err error) {
			r.StoredIn = "" // no file says where a secret is kept
			if ok {
				carry(&r, now)
			}
			if r.RotationKey, err = p.rotationKey(&d.Keys[i], &r, now); err != nil {
				return err
			}
			records.Reschedule(now, &r, resource.At(p.cfg.Now()))
			if r.TeamID, err = p.team(d.Keys[i].Team); err != nil {
				return err
			}
			if err := p.project(d, &r, d.Keys[i].Project); err != nil || p.cfg.MayGrant == nil || ok && equalKeys(&r, now) {
				return err
			}
			return p.cfg.MayGrant(now, &r)
		}
		if err := planHolder(p, d, "key", "key", d.Keys[i].Record.Name, &r, now, d.Keys[i].Budget, fill, records.PutKey); err != nil {
			return err
		}
	}
	return nil
}

// equalKeys says whether a key's grants stay as they are.
func equalKeys(a, b *resource.Key) bool {
	return a.Role == b.Role && a.Type == b.Type && a.ExpiresAt == b.ExpiresAt && slices.Equal(a.Routes, b.Routes)
}

// key finds a key by its name, or by its id if it has none.
func (p *planner) key(name string) (*resource.Key, bool) {
	if k, ok := p.cfg.State.KeyByName(name); ok {
		return k, true
	}
	if k, ok := p.cfg.State.Key(name); ok && k.Name == "" {
		return k, true
	}
	return nil, false
}

// carry keeps what no file says of a key: whether it is blocked, and what came of its
// rotation. The secret of a key that rotates is the newest.
func carry(next, now *resource.Key) {
	next.Blocked = now.Blocked
	if next.Rotation != nil && now.RotatedAt != 0 {
		next.Hash, next.Hint = now.Hash, now.Hint
	}
	if next.Hash == now.Hash {
		next.OldHashes, next.Hint, next.StoredIn = now.OldHashes, now.Hint, now.StoredIn
	}
	next.RotateAt, next.RotatedAt, next.Next, next.Turns = now.RotateAt, now.RotatedAt, now.Next, now.Turns
}

// rotationKey is the sealed secret that signs what a rotation sends.
func (p *planner) rotationKey(k *Key, next, now *resource.Key) (*resource.Sealed, error) {
	var old *resource.Sealed
	if now != nil {
		old = now.RotationKey
	}
	return p.seal(k.RotationKey, k.RotationSealed, "key", next.ID, "rotation_key", old)
}

// members plans the places of users in teams, once the users are there.
func (p *planner) members(d *File) error {
	for i := range d.Teams {
		t := &d.Teams[i]
		team := p.ids["team/"+t.Record.Name]
		for j := range t.Members {
			r := t.Members[j].Record
			r.TeamID, r.ID = team, resource.TeamMemberID(team, r.UserID)
			now, _ := p.cfg.State.TeamMember(team, r.UserID)
			if err := planHolder(p, d, "member", "", t.Record.Name+"/"+r.UserID, &r, now, t.Members[j].Budget, nil, records.PutHolder[resource.TeamMember]); err != nil {
				return err
			}
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
