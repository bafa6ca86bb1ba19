package resource

import (
	"fmt"
	"slices"
)

// maxBudgetFallbacks is how many models may take another's place.
const maxBudgetFallbacks = 8

// InsteadOf are the models, in their order, of which the first that has room takes the place of one for which the
// policy's own budget is spent; none: a request for it is refused.
func (p *Policy) InsteadOf(model string) []string { return p.BudgetFallbacks[model] }

func (p *Policy) validateBudgetFallbacks() error {
	for _, model := range sortedKeys(p.BudgetFallbacks) {
		field := "budget_fallbacks." + model
		if err := validName("budget_fallbacks", model); err != nil {
			return err
		}
		names := p.BudgetFallbacks[model]
		if err := validNames(field, names); err != nil {
			return err
		}
		if len(names) == 0 || len(names) > maxBudgetFallbacks {
			return invalidf(field, "has %d models, not 1 to %d", len(names), maxBudgetFallbacks)
		}
		if slices.Contains(names, model) {
			return invalidf(field, "%q cannot take its own place", model)
		}
	}
	return nil
}

// overBudgetFallbacks finds a model that the child names and has itself, and the parent does not let it have. It would
// never be asked: a request passes every level.
func (g *Grant) overBudgetFallbacks(child, parent *Policy) string {
	for _, model := range sortedKeys(child.BudgetFallbacks) {
		for _, name := range child.BudgetFallbacks[model] {
			to := firstOf(child.Aliases[name], firstOf(parent.Aliases[name], name))
			if (g.has(child, to) || g.leads(child, to)) && !g.has(parent, to) && !g.leads(parent, to) {
				return fmt.Sprintf("%q in the place of %q", name, model)
			}
		}
	}
	return ""
}
