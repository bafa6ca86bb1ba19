// Package delegate decides what a person may do with a part of the cluster: an internal user
// with his own keys, the admin of a team with the team, its members, projects and keys, the
// admin of an organization with the organization's. Whatever is not in its tables is refused.
//
// A person acts with a virtual key that belongs to him. The admin API asks the package before
// it shows or writes a record, and the state machine asks it again when the change is applied,
// so that who has lost his rights cannot use them through a node that has not heard of it.
package delegate

import (
	"fmt"

	"github.com/conclave-llm/conclave/resource"
)

// World is the records that a decision is made from.
type World interface {
	Organization(id string) (*resource.Organization, bool)
	Team(id string) (*resource.Team, bool)
	User(id string) (*resource.User, bool)
	Key(id string) (*resource.Key, bool)
	TeamMember(team, user string) (*resource.TeamMember, bool)
	Memberships(user string) []*resource.TeamMember
	// Called finds what else an MCP server is called.
	Called() resource.Called
	// Tagged says that a tag has a record, whose budgets and rules go with it.
	Tagged(tag string) bool
	// AccessGroup finds an access group.
	AccessGroup(id string) (*resource.AccessGroup, bool)
	// Available says that people join the team by themselves, as the setting available_teams has it.
	Available(team string) bool
}

// Standing is the most that a person is anywhere. It decides which routes he may call at all.
type Standing uint8

// The standings, each with all rights of those before it.
const (
	Nobody            Standing = iota
	Reader                     // internal_user_viewer, and any key of the type read_only
	Internal                   // internal_user
	TeamAdmin                  // of one team or more
	OrganizationAdmin          // of the organization that he is in
)

// String gives LiteLLM's name.
func (s Standing) String() string {
	return [...]string{"nobody", "internal_user_viewer", "internal_user", "team_admin", "org_admin"}[s]
}

// Delegate is a person who acts with a key of his. It is immutable.
type Delegate struct {
	key      *resource.Key
	user     *resource.User
	world    World
	standing Standing
}

// Of finds who acts with the key: the user that it belongs to. It is nil if the key speaks for
// nobody: it has a role of its own, is for inference alone, or its user has no record or is
// blocked. A key of a team acts in that team only.
func Of(key *resource.Key, w World) *Delegate {
	if key == nil || key.Role != resource.RoleInference || key.Type == resource.TypeInference || key.UserID == "" {
		return nil
	}
	u, ok := w.User(key.UserID)
	if !ok || u.Blocked {
		return nil
	}
	d := &Delegate{key: key, user: u, world: w, standing: Internal}
	switch {
	case u.Role == resource.UserInternalViewer, u.Role == resource.UserAdminViewer, key.Type == resource.TypeReadOnly:
		d.standing = Reader
	case d.rulesSome():
		d.standing = OrganizationAdmin
	case d.leadsSome():
		d.standing = TeamAdmin
	}
	return d
}

// Standing is the most that the person is anywhere.
func (d *Delegate) Standing() Standing {
	if d == nil {
		return Nobody
	}
	return d.standing
}

// User is the person's record.
func (d *Delegate) User() *resource.User { return d.user }

// Key is what the person acts with.
func (d *Delegate) Key() *resource.Key { return d.key }

// rulesSome says that the person is the admin of an organization and acts with a key that is
// not bound to a team of another one.
func (d *Delegate) rulesSome() bool {
	if !d.user.OrganizationAdmin || d.user.OrganizationID == "" || d.key.ProjectID != "" {
		return false
	}
	if d.key.TeamID == "" {
		return true
	}
	t, ok := d.world.Team(d.key.TeamID)
	return ok && t.OrganizationID == d.user.OrganizationID
}

func (d *Delegate) leadsSome() bool {
	for _, m := range d.world.Memberships(d.user.ID) {
		if m.Admin && (d.key.TeamID == "" || d.key.TeamID == m.TeamID) {
			return true
		}
	}
	return false
}

// Teams lists the teams that the person is in or, with leads, is an admin of; a key of a team
// sees no other.
func (d *Delegate) Teams(leads bool) []string {
	var ids []string
	for _, m := range d.world.Memberships(d.user.ID) {
		if (m.Admin || !leads) && (d.key.TeamID == "" || d.key.TeamID == m.TeamID) {
			ids = append(ids, m.TeamID)
		}
	}
	return ids
}

// Organization is the organization whose admin the person is; "" if he is of none.
func (d *Delegate) Organization() string {
	if d.standing != OrganizationAdmin {
		return ""
	}
	return d.user.OrganizationID
}

// reach is how near a record is to the person. Each has all rights of those before it.
type reach uint8

const (
	none  reach = iota
	sees        // may read it
	owns        // it is his own, or his team lets him
	leads       // admin of the team that it belongs to
	rules       // admin of the organization that it belongs to
	never       // no person: it takes the master key or a key with the role proxy_admin
)

// Sees says whether the person may read the record.
func (d *Delegate) Sees(r resource.Record) bool { return d.reachOf(Read, r) >= sees }

// Leads says whether the person is an admin of what the record belongs to.
func (d *Delegate) Leads(r resource.Record) bool { return d.reachOf(Read, r) >= leads }

func (d *Delegate) reachOf(v Verb, r resource.Record) reach {
	switch r := r.(type) {
	case *resource.Key:
		return d.keyReach(v, r)
	case *resource.Team:
		return d.teamReach(r)
	case *resource.Project:
		return d.projectReach(r)
	case *resource.TeamMember:
		return d.memberReach(r)
	case *resource.User:
		return d.userReach(v, r)
	case *resource.Organization:
		if d.user.OrganizationID == r.ID && d.key.TeamID == "" {
			return sees
		}
		if t, ok := d.world.Team(d.key.TeamID); ok && t.OrganizationID == r.ID {
			return sees
		}
	}
	return none
}

func (d *Delegate) teamReach(t *resource.Team) reach {
	if d.key.TeamID != "" && d.key.TeamID != t.ID {
		return none
	}
	if d.standing == OrganizationAdmin && t.OrganizationID == d.user.OrganizationID {
		return rules
	}
	m, ok := d.world.TeamMember(t.ID, d.user.ID)
	switch {
	case ok && m.Admin && d.standing > Reader && d.key.ProjectID == "":
		return leads
	case ok, d.key.TeamID == t.ID:
		return sees
	}
	return none
}

func (d *Delegate) teamReachByID(id string) reach {
	if t, ok := d.world.Team(id); ok {
		return d.teamReach(t)
	}
	return none
}

func (d *Delegate) projectReach(p *resource.Project) reach {
	if d.key.ProjectID != "" {
		if d.key.ProjectID == p.ID {
			return sees
		}
		return none
	}
	return d.teamReachByID(p.TeamID)
}

func (d *Delegate) memberReach(m *resource.TeamMember) reach {
	r := d.teamReachByID(m.TeamID)
	if r < leads && m.UserID != d.user.ID {
		return none
	}
	return r
}

// userReach: a person has his own record in part only, whatever else he is.
func (d *Delegate) userReach(v Verb, u *resource.User) reach {
	if u.ID == d.user.ID {
		if d.standing > Reader && d.key.TeamID == "" {
			return owns
		}
		return sees
	}
	person := u.Role != resource.UserAdmin && u.Role != resource.UserAdminViewer
	switch {
	case d.standing == OrganizationAdmin && person && u.OrganizationID == d.user.OrganizationID && d.key.TeamID == "":
		return rules
	case v == Create && person && u.OrganizationID == "" && d.standing >= TeamAdmin:
		return leads // whom he puts into his team
	}
	return seesIf(d.standing >= TeamAdmin && d.leadsUser(u))
}

// leadsUser says that a user is in a team that the person is an admin of.
func (d *Delegate) leadsUser(u *resource.User) bool {
	for _, team := range d.Teams(true) {
		if _, ok := d.world.TeamMember(team, u.ID); ok {
			return true
		}
	}
	return false
}

// keyReach: a key with a role is nobody's but the admins'.
func (d *Delegate) keyReach(v Verb, k *resource.Key) reach {
	mine := k.UserID == d.user.ID
	inside := (d.key.TeamID == "" || d.key.TeamID == k.TeamID) && (d.key.ProjectID == "" || d.key.ProjectID == k.ProjectID)
	switch {
	case k.ID == d.key.ID && v == Read:
		return sees
	case !inside:
		return none
	case k.Role != resource.RoleInference:
		return seesIf(mine)
	case k.TeamID == "" && mine:
		if v == Unblock { // somebody else may have blocked it
			return sees
		}
		return owns
	case k.TeamID == "":
		if u, ok := d.world.User(k.UserID); ok && d.userReach(Read, u) == rules {
			return rules
		}
		return none
	}
	return d.teamKeyReach(v, k, mine)
}

// teamKeyReach: what a plain member may do with his keys of a team, and with those that belong
// to no user, is what the team lets its members.
func (d *Delegate) teamKeyReach(v Verb, k *resource.Key, mine bool) reach {
	t, ok := d.world.Team(k.TeamID)
	if !ok {
		return seesIf(mine)
	}
	r := d.teamReach(t)
	switch {
	case r >= leads:
		return r
	case r == none || !mine && k.UserID != "":
		return seesIf(mine)
	}
	for _, p := range permissions[v] {
		if (p == serviceAccount) == (v == Create && !mine) && t.Lets(p) {
			return owns
		}
	}
	return seesIf(mine || len(t.MemberPermissions) > 0)
}

func seesIf(yes bool) reach {
	if yes {
		return sees
	}
	return none
}

// forbidden says why something may not be done.
func forbidden(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, resource.ErrForbidden)...)
}
