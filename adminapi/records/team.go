package records

import (
	"context"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (rs *Records) teamNoun() *Noun[resource.Team, *resource.Team] {
	return &Noun[resource.Team, *resource.Team]{
		rs: rs, kind: "team", prefix: "team",
		all: func(q Query) []*resource.Team {
			return where(rs.cfg.State.Catalog().Tables().Teams, idIn(q.OrganizationID, rs.findOrganization), func(t *resource.Team) string { return t.OrganizationID })
		},
		find:   rs.findTeam,
		put:    rs.putTeam,
		remove: func(id string) fsm.Command { return fsm.DeleteTeam{ID: id} },
		owns: func(who resource.Principal, t *resource.Team) bool {
			return who.Key != nil && who.Key.TeamID == t.ID
		},
		hidden: []string{"spend", "accounts"},
		check: func(_ Caller, _, next *resource.Team) (err error) {
			if next.CustomerBudget, err = refer("customer_budget", next.CustomerBudget, rs.findBudget); err != nil {
				return err
			}
			next.OrganizationID, err = refer("organization_id", next.OrganizationID, rs.findOrganization)
			return err
		},
		block:   func(id string, blocked bool) fsm.Command { return fsm.BlockTeam{ID: id, Blocked: blocked} },
		blocked: func(t *resource.Team) *bool { return &t.Blocked },
	}
}

// DeleteTeams deletes teams with all their keys and projects, in one entry. A key of the
// configuration file keeps its team.
func (rs *Records) DeleteTeams(ctx context.Context, by Caller, refs ...string) (Written, error) {
	var cmds []fsm.Command
	for _, ref := range refs {
		t, err := rs.Teams.Writable(by, ref)
		if err != nil {
			return Written{}, err
		}
		more, err := rs.teamDeletions(by, t)
		if err != nil {
			return Written{}, err
		}
		cmds = append(cmds, more...)
	}
	return rs.confirmed(ctx, by, cmds...)
}

func (rs *Records) teamDeletions(by Caller, t *resource.Team) ([]fsm.Command, error) {
	var cmds []fsm.Command
	for k := range rs.AllKeys(Query{TeamID: t.ID}) {
		if _, err := rs.Keys.Writable(by, k.ID); err != nil {
			return nil, err
		}
		cmds = append(cmds, fsm.DeleteKey{ID: k.ID})
	}
	for _, p := range rs.Projects.all(Query{TeamID: t.ID}) {
		cmds = append(cmds, fsm.DeleteProject{ID: p.ID})
	}
	return append(cmds, fsm.DeleteTeam{ID: t.ID}), nil
}

// LetMembers adds to what the teams let their members, in one entry. It says how many teams had
// not let all of that before.
func (rs *Records) LetMembers(ctx context.Context, by Caller, refs, permissions []string) (Written, int, error) {
	var cmds []fsm.Command
	for _, ref := range refs {
		now, err := rs.Teams.Writable(by, ref)
		if err != nil {
			return Written{}, 0, err
		}
		next := *now
		next.MemberPermissions = slices.Clone(now.MemberPermissions)
		for _, p := range permissions {
			if !next.Lets(p) {
				next.MemberPermissions = append(next.MemberPermissions, p)
			}
		}
		if len(next.MemberPermissions) == len(now.MemberPermissions) {
			continue
		}
		next.UpdatedAt, next.UpdatedBy = resource.At(rs.cfg.Now()), by.Who.Actor()
		put, err := rs.Teams.command(by, now, &next)
		if err != nil {
			return Written{}, 0, err
		}
		cmds = append(cmds, put)
	}
	if len(cmds) == 0 {
		return Written{}, 0, nil
	}
	w, err := rs.commit(ctx, by, cmds...)
	w.Version = 0
	return w, len(cmds), err
}

// DeleteOrganizations deletes organizations with all their teams, in one entry. Users of
// theirs stay, without an organization.
func (rs *Records) DeleteOrganizations(ctx context.Context, by Caller, refs ...string) (Written, error) {
	var cmds []fsm.Command
	for _, ref := range refs {
		o, err := rs.Organizations.Writable(by, ref)
		if err != nil {
			return Written{}, err
		}
		for _, t := range rs.Teams.all(Query{OrganizationID: o.ID}) {
			more, err := rs.teamDeletions(by, t)
			if err != nil {
				return Written{}, err
			}
			cmds = append(cmds, more...)
		}
		for u := range rs.AllUsers(Query{OrganizationID: o.ID}) {
			next := *u
			next.OrganizationID, next.OrganizationAdmin = "", false
			put, err := rs.Users.command(by, u, &next)
			if err != nil {
				return Written{}, err
			}
			cmds = append(cmds, put)
		}
		cmds = append(cmds, fsm.DeleteOrganization{ID: o.ID})
	}
	return rs.confirmed(ctx, by, cmds...)
}

func (rs *Records) findTeam(ref string) (*resource.Team, bool) {
	if t, ok := rs.cfg.State.Catalog().Team(ref); ok {
		return t, true
	}
	return find(rs.cfg.State.Catalog().Tables().Teams, ref)
}

func (rs *Records) putTeam(next *resource.Team, read uint64) (fsm.Command, error) {
	shared, err := rs.sharedBudget(next)
	if err != nil {
		return nil, err
	}
	return PutTeam(next, read, shared, rs.cfg.Now())
}

// PutTeam makes the command that writes a team; read is the version that was read, 0 for
// none, and shared the budget that its budget_id names, nil for none.
func PutTeam(next *resource.Team, read uint64, shared *resource.Budget, now time.Time) (fsm.Command, error) {
	windows, err := windowsOf(next, shared, now)
	if err != nil {
		return nil, err
	}
	e, err := encoded(next)
	return fsm.PutTeam{Team: e, Read: read, Windows: windows}, err
}

// FoundTeam makes the command by which a node creates the team of the gateway's own requests.
func FoundTeam(t *resource.Team, now time.Time) (fsm.Command, error) {
	windows, err := windowsOf(t, nil, now)
	if err != nil {
		return nil, err
	}
	e, err := encoded(t)
	return fsm.FoundTeam{Team: e, Windows: windows}, err
}
