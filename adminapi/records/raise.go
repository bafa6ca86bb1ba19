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

// CheckIncreases checks the increases that a write of a record brings, whatever kind of record it is, and writes who
// approved them: nobody raises his own budget, or by more than his cap, and each says why. now is nil for a new record.
func (rs *Records) CheckIncreases(by Caller, now, next resource.Record) error {
	if t, ok := next.(*resource.Team); ok && t.MemberDefaults != nil {
		for i := range t.MemberDefaults.Budgets {
			if t.MemberDefaults.Budgets[i].Increase != nil {
				return invalid(fmt.Sprintf("member_defaults.budgets[%d].increase", i), "is given to a member, not to every new one")
			}
		}
	}
	if b, ok := next.(*resource.Budget); ok {
		var old []resource.Terms
		if was, ok := now.(*resource.Budget); ok {
			old = []resource.Terms{was.Terms}
		}
		return rs.checkIncrease(by, "terms", old, &b.Terms, spends(by, next))
	}
	_, a := resource.HolderOf(next)
	if a == nil || !slices.ContainsFunc(a.Budgets, func(t resource.Terms) bool { return t.Increase != nil }) {
		return nil
	}
	var old []resource.Terms
	own := spends(by, next)
	if now != nil {
		_, was := resource.HolderOf(now)
		old, own = was.Budgets, own || spends(by, now)
	}
	a.Budgets = slices.Clone(a.Budgets)
	for i := range a.Budgets {
		if err := rs.checkIncrease(by, fmt.Sprintf("budgets[%d]", i), old, &a.Budgets[i], own); err != nil {
			return err
		}
	}
	return nil
}

// checkIncrease is CheckIncreases of one of a record's budgets, which stands in field; old are those that it had, and
// own says that they are the caller's.
func (rs *Records) checkIncrease(by Caller, field string, old []resource.Terms, t *resource.Terms, own bool) error {
	if t.Increase == nil {
		return nil
	}
	inc := *t.Increase
	t.Increase = &inc
	if i := slices.IndexFunc(old, func(was resource.Terms) bool { return was.Name == t.Name }); i >= 0 && old[i].Increase != nil {
		was := *old[i].Increase
		if inc.By = was.By; inc == was {
			return nil
		}
	}
	inc.By = by.Who.Actor()
	field += ".increase"
	switch who := by.Who.Key; {
	case own:
		return fmt.Errorf("%s: nobody raises his own budget: %w", field, resource.ErrForbidden)
	case inc.Amount < 0:
		return invalid(field+".amount", "is negative")
	case inc.Until <= resource.At(rs.cfg.Now()):
		return invalid(field+".until", "is missing or past; an increase ends")
	case inc.Reason == "":
		return invalid(field+".reason", "is missing; say why")
	case who != nil && who.IncreaseCap != nil && inc.Amount > *who.IncreaseCap:
		return fmt.Errorf("%s: %s is above the %s that the approver may raise by: %w", field, inc.Amount, *who.IncreaseCap, resource.ErrForbidden)
	}
	return nil
}

// spends says that the budgets of a record are the caller's own: he is its user, or his key's requests are charged to
// it.
func spends(by Caller, r resource.Record) bool {
	who := by.Who.Key
	if who == nil {
		return false
	}
	switch r := r.(type) {
	case *resource.Key:
		return ownsKey(by, r)
	case *resource.TeamMember:
		return who.UserID == r.UserID
	case *resource.User:
		return who.UserID == r.ID
	}
	kind, _ := resource.HolderOf(r)
	return slices.ContainsFunc(by.Who.Levels(nil), func(l resource.Level) bool {
		switch r := r.(type) {
		case *resource.Budget:
			return l.Allowance.BudgetID == r.ID
		case *resource.Tag:
			return slices.Contains(l.Policy.Tags, r.ID)
		}
		return l.Kind == kind && l.ID == r.Head().ID
	})
}

// ownsKey says that the key is the caller's, or of the same user.
func ownsKey(by Caller, k *resource.Key) bool {
	who := by.Who.Key
	return who != nil && (who.ID == k.ID || who.UserID != "" && who.UserID == k.UserID)
}
