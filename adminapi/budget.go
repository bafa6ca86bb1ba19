package adminapi

import (
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (s *Server) budgetNoun() *noun[resource.Budget, *resource.Budget] {
	return &noun[resource.Budget, *resource.Budget]{
		s: s, kind: "budget", prefix: "budget",
		all:    func(listQuery) []*resource.Budget { return s.cfg.State.Catalog().Tables().Budgets },
		find:   s.findBudget,
		put:    putBudget,
		remove: func(id string) fsm.Command { return fsm.DeleteBudget{ID: id} },
	}
}

func (s *Server) findBudget(ref string) (*resource.Budget, bool) {
	return find(s.cfg.State.Catalog().Tables().Budgets, ref)
}

func putBudget(next *resource.Budget, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutBudget{Budget: e, Read: read}, err
}
