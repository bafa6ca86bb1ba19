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
		fill:   fillBudget,
	}
}

// fillBudget makes a budget without terms one of limits and further budgets alone: terms of nothing would be a
// budget of no dollars, which refuses whatever has a price.
func fillBudget(doc Document) error {
	if raw, ok := doc["terms"]; ok && !IsNull(raw) {
		return nil
	}
	for _, name := range []string{"budgets", "limits", "model_limits"} {
		if raw := string(doc[name]); raw != "" && raw != "null" && raw != "{}" && raw != "[]" {
			return doc.Set("terms", resource.Terms{USD: resource.MaxMoney})
		}
	}
	return invalid("terms", "is missing; a budget has terms, budgets, limits or model_limits")
}

func (rs *Records) findBudget(ref string) (*resource.Budget, bool) {
	return find(rs.cfg.State.Catalog().Tables().Budgets, ref)
}

// PutBudget makes the command that writes a budget; read is the version that was read, 0 for none.
func PutBudget(next *resource.Budget, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutBudget{Budget: e, Read: read}, err
}
