package records

import (
	"context"
	"fmt"
	"slices"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/resource"
)

// RaiseKey raises a budget of a key for a time; an amount of 0 ends that.
func (rs *Records) RaiseKey(ctx context.Context, by Caller, ref string, r client.Raise) (*resource.Key, Written, error) {
	k, err := rs.Keys.Writable(by, ref)
	if err != nil {
		return nil, Written{}, err
	}
	patch, err := rs.raised(k.Budgets, r)
	if err != nil {
		return nil, Written{}, err
	}
	return rs.Keys.Patch(ctx, by, k.ID, k.Version, patch)
}

// RaiseMember raises a budget of a member of a team for a time; an amount of 0 ends that.
func (rs *Records) RaiseMember(ctx context.Context, by Caller, ref string, r client.Raise) (*resource.TeamMember, Written, error) {
	m, err := rs.TeamMembers.Writable(by, ref)
	if err != nil {
		return nil, Written{}, err
	}
	patch, err := rs.raised(m.Budgets, r)
	if err != nil {
		return nil, Written{}, err
	}
	return rs.TeamMembers.Patch(ctx, by, m.ID, m.Version, patch)
}

// raised is the patch of the budgets, one of which is raised.
func (rs *Records) raised(budgets []resource.Terms, r client.Raise) (Document, error) {
	if len(budgets) == 0 {
		return nil, invalid("budget", "there is no budget to raise; shared ones are raised where they are")
	}
	i := 0
	if r.Budget != "" {
		i = slices.IndexFunc(budgets, func(t resource.Terms) bool { return t.Name == r.Budget })
	} else if len(budgets) > 1 {
		return nil, invalid("budget", "is missing; there are several")
	}
	if i < 0 {
		return nil, invalid("budget", "there is no budget of the name "+r.Budget)
	}
	if r.Amount < 0 {
		return nil, invalid("amount", "is negative")
	}
	next := slices.Clone(budgets)
	next[i].Increase = nil
	if r.Amount > 0 {
		until, err := rs.raiseEnd(r)
		if err != nil {
			return nil, err
		}
		if r.Reason == "" {
			return nil, invalid("reason", "is missing; say why")
		}
		next[i].Increase = &resource.TempIncrease{Amount: r.Amount, Until: until, Reason: r.Reason}
	}
	patch := Document{}
	return patch, patch.Set("budgets", next)
}

func (rs *Records) raiseEnd(r client.Raise) (resource.Time, error) {
	now := resource.At(rs.cfg.Now())
	if r.For != "" {
		d, err := ParseDuration(r.For)
		if err != nil || d <= 0 || r.Until != 0 {
			return 0, invalid("for", "is not a duration such as 24h, beside no until")
		}
		return now + resource.Time(d), nil
	}
	if r.Until <= now {
		return 0, invalid("until", "is missing or past; an increase ends")
	}
	return r.Until, nil
}

// checkIncreases checks the increases that an edit brings, and writes who approved them:
// nobody raises his own budget, or by more than his cap.
func (rs *Records) checkIncreases(by Caller, own bool, old, next *resource.Allowance) error {
	for i := range next.Budgets {
		t := &next.Budgets[i]
		if t.Increase == nil {
			continue
		}
		inc := *t.Increase
		t.Increase = &inc
		if was := increaseOf(old, t); was != nil && was.Amount == inc.Amount && was.Until == inc.Until && was.Reason == inc.Reason {
			inc.By = was.By
			continue
		}
		at := fmt.Sprintf("budgets[%d].increase", i)
		switch who := by.Who.Key; {
		case own:
			return fmt.Errorf("%s: nobody raises his own budget: %w", at, resource.ErrForbidden)
		case inc.Amount < 0:
			return invalid(at+".amount", "is negative")
		case inc.Until <= resource.At(rs.cfg.Now()):
			return invalid(at+".until", "is missing or past; an increase ends")
		case who != nil && who.IncreaseCap != nil && inc.Amount > *who.IncreaseCap:
			return fmt.Errorf("%s: %s is above the %s that the approver may raise by: %w", at, inc.Amount, *who.IncreaseCap, resource.ErrForbidden)
		}
		inc.By = by.Who.Actor()
	}
	return nil
}

// increaseOf is the increase that the terms had before.
func increaseOf(old *resource.Allowance, t *resource.Terms) *resource.TempIncrease {
	if old == nil {
		return nil
	}
	name := t.Name
	if name == "" {
		name = string(t.Per)
	}
	for i := range old.Budgets {
		if o := &old.Budgets[i]; o.Name == name || o.Name == t.Name {
			return o.Increase
		}
	}
	return nil
}

// ownsKey says that the key is the caller's, or of the same user.
func ownsKey(by Caller, k *resource.Key) bool {
	who := by.Who.Key
	return who != nil && (who.ID == k.ID || who.UserID != "" && who.UserID == k.UserID)
}

func allowanceOf[P any](r *P, of func(*P) *resource.Allowance) *resource.Allowance {
	if r == nil {
		return nil
	}
	return of(r)
}
