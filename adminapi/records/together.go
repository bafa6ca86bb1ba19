package records

import (
	"cmp"
	"context"

	"github.com/conclave-llm/conclave/adminapi/keyshelf"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// NewUser is a user with what is made in the same entry.
type NewUser struct {
	User    Document
	Members []Document // his places in teams: team_id and what he may spend there
	Key     Document   // nil: none
}

// CreateUser makes a user, his places in teams and his key, all of them or none. The key is
// nil if there is none.
func (rs *Records) CreateUser(ctx context.Context, by Caller, parts NewUser) (*resource.User, *resource.Key, Written, error) {
	u, cmds, _, err := rs.Users.prepare(by, parts.User)
	if err != nil {
		return nil, nil, Written{}, err
	}
	for _, doc := range parts.Members {
		more, err := rs.place(by, doc, u.ID)
		if err != nil {
			return nil, nil, Written{}, err
		}
		cmds = append(cmds, more...)
	}
	var k *resource.Key
	var secret string
	if parts.Key != nil {
		if err := parts.Key.Set("user_id", u.ID); err != nil {
			return nil, nil, Written{}, err
		}
		var more []fsm.Command
		if k, more, secret, err = rs.Keys.prepare(by, parts.Key); err != nil {
			return nil, nil, Written{}, err
		}
		cmds = append(cmds, more...)
	}
	var w Written
	var kept []keyshelf.Item
	if k != nil {
		kept = []keyshelf.Item{{Key: k, Secret: secret}}
	}
	err = rs.cfg.Shelf.Commit(ctx, kept, func() (err error) {
		w, err = rs.commit(ctx, by, cmds...)
		return err
	})
	if err != nil {
		return nil, nil, Written{}, err
	}
	if k != nil {
		w.Secret, k = secret, rs.Keys.stored(k)
	}
	return rs.Users.stored(u), k, w, nil
}

// place gives the commands that put a user, who may be new in the same entry, into the team
// that the document names.
func (rs *Records) place(by Caller, doc Document, user string) ([]fsm.Command, error) {
	var team string
	if err := doc.Take("team_id", &team); err != nil {
		return nil, err
	}
	t, ok := rs.findTeam(team)
	if !ok {
		return nil, invalid("team_id", "there is no team with the id or name "+team)
	}
	return rs.placeIn(by, doc, t.ID, user)
}

func (rs *Records) placeIn(by Caller, doc Document, team, user string) ([]fsm.Command, error) {
	for name, v := range map[string]string{"id": resource.TeamMemberID(team, user), "team_id": team, "user_id": user} {
		if err := doc.Set(name, v); err != nil {
			return nil, err
		}
	}
	m, err := rs.TeamMembers.draft(by, doc, nil)
	if err != nil {
		return nil, err
	}
	cmd, err := rs.TeamMembers.command(by, nil, m)
	return []fsm.Command{cmd}, err
}

// CreateTeam makes a team with its first members, each named by user_id or user_email, all of
// them or none.
func (rs *Records) CreateTeam(ctx context.Context, by Caller, doc Document, members []Document) (*resource.Team, Written, error) {
	t, cmds, _, err := rs.Teams.prepare(by, doc)
	if err != nil {
		return nil, Written{}, err
	}
	made := map[string]bool{}
	for _, m := range members {
		_, user, email, err := takePlace(m)
		if err != nil {
			return nil, Written{}, err
		}
		more, err := rs.join(by, m, t.ID, user, email, made)
		if err != nil {
			return nil, Written{}, err
		}
		cmds = append(cmds, more...)
	}
	w, err := rs.commit(ctx, by, cmds...)
	if err != nil {
		return nil, Written{}, err
	}
	return rs.Teams.stored(t), w, nil
}

// JoinTeam puts users into teams, each named by user_id or user_email, all of them or none.
func (rs *Records) JoinTeam(ctx context.Context, by Caller, members []Document) ([]*resource.TeamMember, Written, error) {
	var cmds []fsm.Command
	var ids []string
	made := map[string]bool{}
	for _, doc := range members {
		team, user, email, err := takePlace(doc)
		if err != nil {
			return nil, Written{}, err
		}
		t, err := rs.teamFor(by, team, cmp.Or(user, email))
		if err != nil {
			return nil, Written{}, err
		}
		more, err := rs.join(by, doc, t.ID, user, email, made)
		if err != nil {
			return nil, Written{}, err
		}
		cmds = append(cmds, more...)
		var id string
		if err := doc.Take("id", &id); err != nil {
			return nil, Written{}, err
		}
		ids = append(ids, id)
	}
	w, err := rs.commit(ctx, by, cmds...)
	if err != nil {
		return nil, Written{}, err
	}
	var all []*resource.TeamMember
	for _, id := range ids {
		if m, ok := rs.findMember(id); ok {
			all = append(all, m)
		}
	}
	return all, w, nil
}

// takePlace takes who is put into which team out of a document.
func takePlace(doc Document) (team, user, email string, err error) {
	for name, v := range map[string]*string{"team_id": &team, "user_id": &user, "user_email": &email} {
		if err := doc.Take(name, v); err != nil {
			return "", "", "", err
		}
	}
	return team, user, email, nil
}

// join gives the commands that put a user, who is made if he is not there, into a team.
func (rs *Records) join(by Caller, doc Document, team, user, email string, made map[string]bool) ([]fsm.Command, error) {
	id, cmds, err := rs.userFor(by, user, email)
	if err != nil {
		return nil, err
	}
	if made[id] {
		cmds = nil
	}
	made[id] = true
	more, err := rs.placeIn(by, doc, team, id)
	if err != nil {
		return nil, err
	}
	kept := Document{}
	if err := kept.Set("id", resource.TeamMemberID(team, id)); err != nil {
		return nil, err
	}
	clear(doc)
	doc["id"] = kept["id"]
	return append(cmds, more...), nil
}

// Joining is who comes into an organization, and as what.
type Joining struct {
	Organization, UserID, Email string            // one of the latter may be ""
	Role                        resource.UserRole // "": he keeps his
	Admin                       bool              // he manages the organization
	Budgets                     []resource.Terms  // instead of his; nil: he keeps his
}

// JoinOrganization puts a user, who is made if he is not there, into an organization.
func (rs *Records) JoinOrganization(ctx context.Context, by Caller, j Joining) (*resource.User, Written, error) {
	doc := Document{}
	var err error
	set := func(name string, v any, given bool) {
		if given && err == nil {
			err = doc.Set(name, v)
		}
	}
	set("organization_admin", j.Admin, j.Admin || j.Role != "")
	set("organization_id", j.Organization, true)
	set("role", j.Role, j.Role != "")
	set("budgets", j.Budgets, j.Budgets != nil)
	u, ok := rs.findUser(cmp.Or(j.UserID, j.Email))
	if !ok {
		set("id", j.UserID, j.UserID != "")
		set("email", j.Email, j.Email != "")
	}
	if err != nil {
		return nil, Written{}, err
	}
	if ok {
		return rs.Users.Patch(ctx, by, u.ID, 0, doc)
	}
	return rs.Users.Create(ctx, by, doc)
}
