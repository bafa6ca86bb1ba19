package records

import (
	"context"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (rs *Records) teamNoun() *Noun[resource.Team, *resource.Team] {
	return &Noun[resource.Team, *resource.Team]{
		rs: rs, kind: "team", prefix: "team",
		all:    func(Query) []*resource.Team { return rs.cfg.State.Catalog().Tables().Teams },
		find:   rs.findTeam,
		put:    rs.putTeam,
		remove: func(id string) fsm.Command { return fsm.DeleteTeam{ID: id} },
		owns: func(who resource.Principal, t *resource.Team) bool {
			return who.Key != nil && who.Key.TeamID == t.ID
		},
		hidden: []string{"spend", "accounts"},
		check: func(_ Caller, _, next *resource.Team) (err error) {
			next.BudgetID, err = refer("budget_id", next.BudgetID, rs.findBudget)
			return err
		},
		block:   func(id string, blocked bool) fsm.Command { return fsm.BlockTeam{ID: id, Blocked: blocked} },
		blocked: func(t *resource.Team) *bool { return &t.Blocked },
	}
}

// DeleteTeams deletes teams with all their keys, in one entry. A key of the configuration file
// keeps its team.
func (rs *Records) DeleteTeams(ctx context.Context, by Caller, refs ...string) (Written, error) {
	var cmds []fsm.Command
	for _, ref := range refs {
		t, err := rs.Teams.Writable(by, ref)
		if err != nil {
			return Written{}, err
		}
		for k := range rs.AllKeys(Query{TeamID: t.ID}) {
			if _, err := rs.Keys.Writable(by, k.ID); err != nil {
				return Written{}, err
			}
			cmds = append(cmds, fsm.DeleteKey{ID: k.ID})
		}
		cmds = append(cmds, fsm.DeleteTeam{ID: t.ID})
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
	terms, err := rs.terms(next.Budgets, next.BudgetID)
	if err != nil {
		return nil, err
	}
	return PutTeam(next, read, terms, rs.cfg.Now())
}

// PutTeam makes the command that writes a team; read is the version that was read, 0 for
// none, and terms are those of its budgets, inline and shared.
func PutTeam(next *resource.Team, read uint64, terms []resource.Terms, now time.Time) (fsm.Command, error) {
	windows, err := openWindows("team", next.ID, terms, now)
	if err != nil {
		return nil, err
	}
	e, err := encoded(next)
	return fsm.PutTeam{Team: e, Read: read, Windows: windows}, err
}
