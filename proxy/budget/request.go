package budget

import (
	"fmt"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// Request is what is to be admitted.
type Request struct {
	Catalog  *resource.Catalog
	Levels   []resource.Level // whose budgets it falls under; read during the call alone
	Model    string           // budgets for other models do not count it
	Session  string           // of an agent; "": none
	Most     Amounts          // the most that it may take: the hold
	Free     bool             // every deployment that may serve it is free
	Unpriced bool             // the price of one is unknown
}

// Amounts are what one request takes, besides being one request, by unit.
type Amounts struct {
	Cost     resource.Money // nanodollars
	Estimate resource.Money // the cost where the price is unknown, for budgets that say estimate
	Tokens   int64
	GPU      resource.Money // GPU-nanoseconds
	Requests int64          // that it stands for, as a batch does; 0: it is one
}

// most is what a budget under the terms holds for the request.
func (r *Request) most(t *resource.Terms) resource.Money {
	switch t.Unit() {
	case resource.UnitTokens:
		return resource.Money(max(1, r.Most.Tokens))
	case resource.UnitRequests:
		return resource.Money(max(1, r.Most.Requests))
	case resource.UnitGPUSeconds:
		return max(0, r.Most.GPU) // what has no GPUs needs none
	}
	switch {
	case r.Free:
		return 0
	case r.Unpriced && t.Unpriced == resource.UnpricedEstimate:
		return max(1, r.Most.Cost, r.Most.Estimate)
	case r.Unpriced:
		return max(0, r.Most.Cost)
	default:
		return max(1, r.Most.Cost) // what costs money needs room, however little
	}
}

// taken is what a budget under the terms is charged.
func (a *Amounts) taken(t *resource.Terms) resource.Money {
	return a.In(t.Unit(), t.Unpriced == resource.UnpricedEstimate)
}

// In is what a budget in the unit is charged. estimate says that what has no price counts at what it is taken for.
func (a *Amounts) In(unit resource.Unit, estimate bool) resource.Money {
	switch unit {
	case resource.UnitTokens:
		return resource.Money(a.Tokens)
	case resource.UnitRequests:
		return resource.Money(max(1, a.Requests))
	case resource.UnitGPUSeconds:
		return a.GPU
	}
	if estimate && a.Cost == 0 {
		return a.Estimate
	}
	return a.Cost
}

// holder is whose budget it is.
type holder struct{ kind, id, name string }

// collect adds the accounts of the levels to the hold's scopes.
func (h *Hold) collect(levels []resource.Level) error {
	for i := range levels {
		l := &levels[i]
		if l.Allowance == nil {
			continue
		}
		of := holder{l.Kind, l.ID, l.Name}
		for k := range l.Allowance.Budgets {
			if err := h.add(of, &l.Allowance.Budgets[k]); err != nil {
				return err
			}
		}
		if err := h.addShared(of, l.Allowance.BudgetID); err != nil {
			return err
		}
		if l.Policy != nil && l.Policy.Sessions != nil && h.request.Session != "" {
			terms := l.Policy.Sessions.SessionTerms(h.request.Session)
			for k := range terms {
				if err := h.add(of, &terms[k]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (h *Hold) addShared(of holder, id string) error {
	if id == "" {
		return nil
	}
	budget, ok := h.request.Catalog.Budget(id)
	if !ok {
		return &llm.Error{
			Kind: llm.Unavailable, Scope: of.kind,
			Message: fmt.Sprintf("a budget of the %s is not known here yet", of.kind),
		}
	}
	if !budget.Terms.Boundless() {
		if err := h.add(of, &budget.Terms); err != nil {
			return err
		}
	}
	for i := range budget.Budgets {
		if err := h.add(of, &budget.Budgets[i]); err != nil {
			return err
		}
	}
	return nil
}

func (h *Hold) add(of holder, t *resource.Terms) error {
	if !t.Counts(h.request.Model) {
		return nil
	}
	if h.request.Unpriced && t.Unpriced == resource.UnpricedDeny && t.Unit() == resource.UnitUSD {
		return &llm.Error{
			Kind: llm.Forbidden, Code: "model_unpriced", Scope: of.kind, Entity: of.id, NoRetry: true,
			Count:   &llm.Count{Of: termsName(t), Part: llm.PartUnpriced, Unit: string(t.Unit())},
			Message: fmt.Sprintf("the model has no known price, and budget %q of %s refuses such models", t.Name, of),
		}
	}
	a := h.b.account(ref{of.kind, of.id, termsName(t)})
	for i := range h.scopes {
		if h.scopes[i].account == a {
			return nil // two terms of one name are one account
		}
	}
	h.scopes = append(h.scopes, scope{holder: of, terms: t, account: a, held: h.request.most(t)})
	return nil
}

func termsName(t *resource.Terms) string {
	switch {
	case t.Name != "":
		return t.Name
	case t.Per != "":
		return string(t.Per)
	default:
		return string(resource.PerTotal)
	}
}
