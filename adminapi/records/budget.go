package records

import (
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (rs *Records) budgetNoun() *Noun[resource.Budget, *resource.Budget] {
	return &Noun[resource.Budget, *resource.Budget]{
		rs: rs, kind: "budget", prefix: "budget",
		all:    func(Query) []*resource.Budget { return rs.cfg.State.Catalog().Tables().Budgets },
		find:   rs.findBudget,
		put:    PutBudget,
		remove: func(id string) fsm.Command { return fsm.DeleteBudget{ID: id} },
	}
}

func (rs *Records) findBudget(ref string) (*resource.Budget, bool) {
	return find(rs.cfg.State.Catalog().Tables().Budgets, ref)
}

// PutBudget makes the command that writes a budget; read is the version that was read, 0 for none.
func PutBudget(next *resource.Budget, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutBudget{Budget: e, Read: read}, err
}
