package fsm

import (
	"fmt"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/resource"
)

// Windows computes, for the command that writes a holder of the kind (resource.HolderKey, …),
// the windows that its budgets are in at the time; shared is the budget that its budget_id
// names, nil if it names none. Proposers call it: it reads the time zone database, which
// Apply never does. It returns a *resource.Invalid.
func Windows(kind, id string, a *resource.Allowance, shared *resource.Budget, now time.Time) ([]OpenWindow, error) {
	all := slices.Clip(a.Budgets)
	if shared != nil {
		all = append(all, shared.All()...)
	}
	open := make([]OpenWindow, 0, len(all))
	for i := range all {
		t := &all[i]
		account := resource.Account(kind, id, t.Name)
		if slices.ContainsFunc(open, func(w OpenWindow) bool { return w.Account == account }) {
			return nil, &resource.Invalid{Field: "budget_id", Reason: "the shared budget's terms have the name " + t.Name + " of inline ones"}
		}
		w, err := t.Window(now)
		if err != nil {
			return nil, &resource.Invalid{Field: fmt.Sprintf("budgets[%d]", i), Reason: err.Error()}
		}
		open = append(open, OpenWindow{Account: account, Window: w, Limit: t.Limit(resource.At(now)), Overdraft: t.Over()})
	}
	if len(open) == 0 {
		return nil, nil
	}
	return open, nil
}
