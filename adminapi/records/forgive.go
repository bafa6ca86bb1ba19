package records

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/resource"
)

// forgiven is the reason of an increase that stands for spend which counts no longer.
const forgiven = "spend reset"

// forgivenForEver is how long it lasts for a budget without an end: increases have one.
const forgivenForEver = 100 * 365 * 24 * time.Hour

// Forgiven is what counts against a budget, before and after.
type Forgiven struct {
	Before, After resource.Money
	Until         resource.Time // when the window ends, and with it the increase; 0: never
}

// ForgiveKey lets only `to` of what a key has spent count against its dollar budgets, until their
// windows end. What was spent stays in the ledger, whose totals nobody changes: each budget is
// raised by the rest, which is audited as every increase is, and bound by the same rules.
func (rs *Records) ForgiveKey(ctx context.Context, by Caller, ref string, to resource.Money) (*resource.Key, Forgiven, Written, error) {
	k, err := rs.Keys.Writable(by, ref)
	if err != nil {
		return nil, Forgiven{}, Written{}, err
	}
	patch, f, err := rs.forgive(resource.HolderKey+"/"+k.ID, k.Budgets, to)
	if err != nil {
		return nil, f, Written{}, err
	}
	k, w, err := rs.Keys.Patch(ctx, by, k.ID, k.Version, patch)
	return k, f, w, err
}

// ForgiveMember does the same for a member of a team.
func (rs *Records) ForgiveMember(ctx context.Context, by Caller, ref string, to resource.Money) (*resource.TeamMember, Forgiven, Written, error) {
	m, err := rs.TeamMembers.Writable(by, ref)
	if err != nil {
		return nil, Forgiven{}, Written{}, err
	}
	patch, f, err := rs.forgive(resource.HolderMember+"/"+m.ID, m.Budgets, to)
	if err != nil {
		return nil, f, Written{}, err
	}
	m, w, err := rs.TeamMembers.Patch(ctx, by, m.ID, m.Version, patch)
	return m, f, w, err
}

// forgive is the patch of a holder's budgets. Of several, the one of which most counts is told.
func (rs *Records) forgive(holder string, budgets []resource.Terms, to resource.Money) (Document, Forgiven, error) {
	next, now, found := slices.Clone(budgets), resource.At(rs.cfg.Now()), false
	out := Forgiven{Before: -1}
	for i := range next {
		t := &next[i]
		if t.Unit() != resource.UnitUSD {
			continue
		}
		found = true
		f, err := rs.forgiveTerms(holder, t, to, now)
		if err != nil {
			return nil, f, err
		}
		if f.Before > out.Before {
			out = f
		}
	}
	switch {
	case !found:
		return nil, out, invalid("reset_to", "there is no dollar budget that spend counts against; what was spent is what the ledger says")
	case to > out.Before:
		return nil, out, invalid("reset_to", fmt.Sprintf("%s is more than the %s that count now", to, out.Before))
	}
	patch := Document{}
	return patch, out, patch.Set("budgets", next)
}

func (rs *Records) forgiveTerms(holder string, t *resource.Terms, to resource.Money, now resource.Time) (Forgiven, error) {
	spent, ends := rs.spentOf(holder, t.Name, now)
	f := Forgiven{Before: spent, After: min(to, spent), Until: ends}
	if inc := t.Increase; inc != nil && inc.Until > now {
		if inc.Reason != forgiven {
			return f, fmt.Errorf("budget %q has an increase until %s; end it first: %w", t.Name, inc.Until.Std().Format(time.RFC3339), resource.ErrConflict)
		}
		f.Before = max(0, spent-inc.Amount)
		f.After = min(to, f.Before)
	}
	if f.After == f.Before {
		return f, nil
	}
	until := ends
	if until == 0 {
		until = now + resource.Time(forgivenForEver)
	}
	t.Increase = &resource.TempIncrease{Amount: spent - f.After, Until: until, Reason: forgiven}
	return f, nil
}

// spentOf is what counts against a budget in the window that is open, and when that ends.
func (rs *Records) spentOf(holder, budget string, now resource.Time) (spent resource.Money, ends resource.Time) {
	for _, a := range rs.cfg.State.Accounts(holder) {
		if a.Window.Contains(now) && string(a.ID[len(holder)+1:]) == budget {
			return a.Settled + a.Presumed, a.Window.End
		}
	}
	return 0, 0
}
