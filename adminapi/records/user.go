package records

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/delegate"
)

func (rs *Records) userNoun() *Noun[resource.User, *resource.User] {
	n := holderNoun[resource.User](rs, "user", "user")
	n.foreign = true
	n.page = func(q Query) ([]*resource.User, string, int) { return rs.cfg.State.Users(rs.listQuery(q)) }
	n.near = rs.nearUsers
	n.find = rs.findUser
	n.owns = func(who resource.Principal, u *resource.User) bool {
		return who.Key != nil && who.Key.UserID == u.ID
	}
	n.check = func(_ Caller, _, next *resource.User) (err error) {
		next.OrganizationID, err = refer("organization_id", next.OrganizationID, rs.findOrganization)
		return err
	}
	n.block = func(id string, blocked bool) fsm.Command { return fsm.BlockUser{ID: id, Blocked: blocked} }
	n.blocked = func(u *resource.User) *bool { return &u.Blocked }
	return n
}

// nearUsers are a person and those in the teams that he is an admin of.
func (rs *Records) nearUsers(d *delegate.Delegate, q Query) iter.Seq[*resource.User] {
	ids := []string{d.User().ID}
	for _, team := range d.Teams(true) {
		for _, m := range rs.cfg.State.TeamMembers(team) {
			ids = append(ids, m.UserID)
		}
	}
	slices.Sort(ids)
	return func(yield func(*resource.User) bool) {
		for _, id := range slices.Compact(ids) {
			u, ok := rs.cfg.State.User(id)
			if ok && rs.selectsUser(q, u) && !yield(u) {
				return
			}
		}
	}
}

// selectsUser says whether a query is about the user.
func (rs *Records) selectsUser(q Query, u *resource.User) bool {
	return (q.Role == "" || q.Role == string(u.Role)) && (q.CreatedBy == "" || q.CreatedBy == u.CreatedBy) &&
		(q.OrganizationID == "" || idIn(q.OrganizationID, rs.findOrganization) == u.OrganizationID) &&
		(q.Status == "" || (q.Status == "blocked") == u.Blocked)
}

// findUser finds a user by id or e-mail address.
func (rs *Records) findUser(ref string) (*resource.User, bool) {
	if u, ok := rs.cfg.State.User(ref); ok {
		return u, true
	}
	if !strings.Contains(ref, "@") {
		return nil, false
	}
	return rs.cfg.State.UserByEmail(ref)
}

// DeleteUsers deletes users with all their keys, in one entry.
func (rs *Records) DeleteUsers(ctx context.Context, by Caller, refs ...string) (Written, error) {
	var cmds []fsm.Command
	for _, ref := range refs {
		u, err := rs.Users.Writable(by, ref)
		if err != nil {
			return Written{}, err
		}
		for _, k := range rs.cfg.State.KeysOf(u.ID) {
			cmds = append(cmds, fsm.DeleteKey{ID: k.ID})
		}
		cmds = append(cmds, fsm.DeleteUser{ID: u.ID})
	}
	return rs.confirmed(ctx, by, cmds...)
}

// memberNoun is the places of users in teams. A ref is TEAM/USER.
func (rs *Records) memberNoun() *Noun[resource.TeamMember, *resource.TeamMember] {
	n := holderNoun[resource.TeamMember](rs, "member", "")
	n.foreign = true
	n.find = rs.findMember
	n.begin = rs.beginMember
	n.check = func(_ Caller, now, next *resource.TeamMember) error {
		if t, ok := rs.findTeam(next.TeamID); ok && now == nil {
			t.MemberDefaults.Fill(next)
		}
		return nil
	}
	return n
}

func (rs *Records) findMember(ref string) (*resource.TeamMember, bool) {
	team, user, ok := strings.Cut(ref, "/")
	if !ok {
		return nil, false
	}
	return rs.cfg.State.TeamMember(idIn(team, rs.findTeam), idIn(user, rs.findUser))
}

// beginMember makes the id of a new member, and, if nobody has the user's id or address yet,
// the user, in the same entry.
func (rs *Records) beginMember(by Caller, doc Document) (first[*resource.TeamMember], error) {
	var f first[*resource.TeamMember]
	team, user, email, err := takePlace(doc)
	if err != nil {
		return f, err
	}
	t, err := rs.teamFor(by, team, cmp.Or(user, email))
	if err != nil {
		return f, err
	}
	id, prior, err := rs.userFor(by, user, email)
	if err != nil {
		return f, err
	}
	f.prior = prior
	for name, v := range map[string]string{"id": resource.TeamMemberID(t.ID, id), "team_id": t.ID, "user_id": id} {
		if err := doc.Set(name, v); err != nil {
			return f, err
		}
	}
	return f, nil
}

// teamFor finds the team into which the caller puts a user, who may have no record yet: any that he may see, or
// one that he may join by himself. What he does not see is not told apart from what is not there.
func (rs *Records) teamFor(by Caller, ref, user string) (*resource.Team, error) {
	t, ok := rs.findTeam(ref)
	if !ok || !by.sees(t, false) && !by.MayJoin(t) {
		return nil, invalid("team_id", "there is no team with the id or name "+ref)
	}
	if by.Leads(t) {
		return t, nil
	}
	if u, ok := rs.findUser(user); !ok || by.Delegate == nil || u.ID != by.Delegate.User().ID {
		return nil, fmt.Errorf("only an admin of the team %q puts others into it: %w", t.ID, resource.ErrForbidden)
	}
	return t, nil
}

// AvailableTeams lists the teams that the caller may join by himself; somebody who acts for no user sees all that
// are open to that.
func (rs *Records) AvailableTeams(by Caller) []*resource.Team {
	open := rs.cfg.State.Catalog().Settings().AvailableTeams
	return slices.DeleteFunc(slices.Clone(rs.cfg.State.Catalog().Tables().Teams), func(t *resource.Team) bool {
		return !open.Has(t.ID) || by.OwnOnly && !by.MayJoin(t)
	})
}

// userFor finds a user by id or address, or gives the command that makes one.
func (rs *Records) userFor(by Caller, user, email string) (id string, prior []fsm.Command, err error) {
	ref := user
	if ref == "" {
		ref = email
	}
	if ref == "" {
		return "", nil, invalid("user_id", "is missing; give user_id or user_email")
	}
	if u, ok := rs.findUser(ref); ok {
		return u.ID, nil, nil
	}
	doc := Document{}
	for name, v := range map[string]string{"id": user, "email": email} {
		if v == "" {
			continue
		}
		if err := doc.Set(name, v); err != nil {
			return "", nil, err
		}
	}
	u, err := rs.Users.draft(by, doc, nil)
	if err != nil {
		return "", nil, err
	}
	cmd, err := rs.Users.command(by, nil, u)
	return u.ID, []fsm.Command{cmd}, err
}

// Members lists the members of a team by user.
func (rs *Records) Members(team string) []*resource.TeamMember { return rs.cfg.State.TeamMembers(team) }

// Memberships lists a user's places in teams.
func (rs *Records) Memberships(user string) []*resource.TeamMember {
	return rs.cfg.State.Memberships(user)
}

// KeysOf lists the keys of a user.
func (rs *Records) KeysOf(user string) []*resource.Key { return rs.cfg.State.KeysOf(user) }
