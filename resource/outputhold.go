package resource

import "fmt"

// maxOutputHold bounds what is held of a request, as the setting default_output_hold is bounded.
const maxOutputHold = 10_000_000

// HoldFor is how many tokens of output the policy wants held of a request for the model that names no maximum; 0: it
// does not say. Of all levels of a request the largest counts, so that no level holds less than one above it wants.
func (p *Policy) HoldFor(model string) int64 {
	if n, ok := p.ModelOutputHolds[model]; ok {
		return n
	}
	if p.OutputHold != nil {
		return *p.OutputHold
	}
	return 0
}

func (p *Policy) validateOutputHolds() error {
	if n := p.OutputHold; n != nil && (*n < 1 || *n > maxOutputHold) {
		return invalidf("default_output_hold", "%d is not between 1 and %d", *n, maxOutputHold)
	}
	for _, model := range sortedKeys(p.ModelOutputHolds) {
		if err := validName("model_output_holds", model); err != nil {
			return err
		}
		if n := p.ModelOutputHolds[model]; n < 1 || n > maxOutputHold {
			return invalidf("model_output_holds."+model, "%d is not between 1 and %d", n, maxOutputHold)
		}
	}
	return nil
}

// holdsOf is what a policy says about holds.
func holdsOf(p *Policy) any { return []any{p.OutputHold, p.ModelOutputHolds} }

// eachHold calls f for the hold of either policy of every model that one of them names, and of all others ("").
func eachHold(child, other *Policy, f func(c, o int64) bool) (model string, found bool) {
	names := append([]string{""}, append(sortedKeys(child.ModelOutputHolds), sortedKeys(other.ModelOutputHolds)...)...)
	for _, model := range names {
		if f(child.HoldFor(model), other.HoldFor(model)) {
			return model, true
		}
	}
	return "", false
}

// lessHeld says what is held of a request too little.
func lessHeld(child *Policy, model string) string {
	of := ""
	if model != "" {
		of = fmt.Sprintf(" of a request for %q", model)
	}
	if n := child.HoldFor(model); n > 0 {
		return fmt.Sprintf("to hold only %d tokens%s", n, of)
	}
	return "to hold what the setting says" + of
}

// overHolds finds a hold of the child that is lower than the parent's: it would do nothing, for the largest counts.
func (g *Grant) overHolds(child, parent *Policy) string {
	if model, found := eachHold(child, parent, func(c, p int64) bool { return c > 0 && c < p }); found {
		return lessHeld(child, model)
	}
	return ""
}

// moreHolds finds a hold of the child that is lower than the bound's, or left to the setting where the bound has one.
func (g *Grant) moreHolds(child, bound *Policy) string {
	if model, found := eachHold(child, bound, func(c, b int64) bool { return c < b }); found {
		return lessHeld(child, model)
	}
	return ""
}
