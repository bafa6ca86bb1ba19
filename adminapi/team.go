package adminapi

import (
	"context"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (s *Server) teamNoun() *noun[resource.Team, *resource.Team] {
	return &noun[resource.Team, *resource.Team]{
		s: s, kind: "team", prefix: "team",
		all:    func(listQuery) []*resource.Team { return s.cfg.State.Catalog().Tables().Teams },
		find:   s.findTeam,
		put:    s.putTeam,
		remove: func(id string) fsm.Command { return fsm.DeleteTeam{ID: id} },
		owns: func(who *resource.Principal, t *resource.Team) bool {
			return who.Key != nil && who.Key.TeamID == t.ID
		},
		hidden: []string{"spend", "accounts"},
		check: func(_ context.Context, _, next *resource.Team) (err error) {
			next.BudgetID, err = refer("budget_id", next.BudgetID, s.findBudget)
			return err
		},
		block:   func(id string, blocked bool) fsm.Command { return fsm.BlockTeam{ID: id, Blocked: blocked} },
		blocked: func(t *resource.Team) *bool { return &t.Blocked },
	}
}

func (s *Server) registerTeamActions() {
	for _, state := range []client.BlockState{client.Blocked, client.Unblocked} {
		register(s, string(state)+"-team", http.MethodPost, "/teams/{id}/"+string(state),
			string(state)+" a team and all its keys at once",
			func(ctx context.Context, in *RefInput) (*doneOutput, error) {
				_, w, err := s.teams.setBlocked(ctx, in.Ref, state)
				return s.done(w, err)
			})
	}
}

func (s *Server) findTeam(ref string) (*resource.Team, bool) {
	if t, ok := s.cfg.State.Catalog().Team(ref); ok {
		return t, true
	}
	return find(s.cfg.State.Catalog().Tables().Teams, ref)
}

func (s *Server) putTeam(next *resource.Team, read uint64) (fsm.Command, error) {
	windows, err := s.windows("team", next.ID, next.Budgets, next.BudgetID)
	if err != nil {
		return nil, err
	}
	e, err := encoded(next)
	return fsm.PutTeam{Team: e, Read: read, Windows: windows}, err
}

func (s *Server) teamView(_ context.Context, t *resource.Team, d detail) client.Team {
	v := client.Team{Team: *t, Spend: s.cfg.State.Totals("team", t.ID).Cost}
	if d == alone {
		v.Accounts = s.accounts("team/" + t.ID)
	}
	return v
}
