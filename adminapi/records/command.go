package records

import (
	"errors"
	"fmt"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// Batch makes one command of several.
func Batch(cmds []fsm.Command) (fsm.Batch, error) {
	b := fsm.Batch{Items: make([]fsm.Item, 0, len(cmds))}
	for _, cmd := range cmds {
		item, err := fsm.ItemOf(cmd)
		if err != nil {
			return fsm.Batch{}, fmt.Errorf("encode command: %w", err)
		}
		b.Items = append(b.Items, item)
	}
	return b, nil
}

// encoded makes a put command's record.
func encoded[R any](r *R) (fsm.Encoded[R], error) {
	e, err := fsm.EncodedOf(*r)
	if err != nil {
		return e, fmt.Errorf("encode record: %w", err)
	}
	return e, nil
}

// terms are those of a holder's budgets, inline and shared.
func (rs *Records) terms(inline []resource.Terms, budgetID string) ([]resource.Terms, error) {
	all, ok := rs.cfg.State.Catalog().Terms(inline, budgetID)
	if !ok {
		return nil, invalid("budget_id", "there is no such budget")
	}
	return all, nil
}

// openWindows computes the window of each of the terms at the time; Apply never reads the
// time zone database.
func openWindows(kind, id string, all []resource.Terms, now time.Time) ([]fsm.OpenWindow, error) {
	open, err := fsm.Windows(kind, id, &resource.Allowance{Budgets: all}, nil, now)
	if bad := (*resource.Invalid)(nil); errors.As(err, &bad) {
		return nil, invalid(bad.Field, bad.Reason)
	}
	return open, err
}
