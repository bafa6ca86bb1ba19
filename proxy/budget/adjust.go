package budget

import (
	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/resource"
)

// Adjust charges more, or less where the amount is negative, to windows that exist, without a
// hold, and returns those charges that it has made. The caller then writes them into the
// journal, which brings them to the replicated state as what this node's epoch has consumed.
// A charge of a window that nobody knows any more is left out: its budget is over.
func (b *Budgets) Adjust(charges []ledger.AccountCharge) (made []ledger.AccountCharge) {
	for _, c := range charges {
		if b.adjust(c) {
			made = append(made, c)
		}
	}
	return made
}

func (b *Budgets) adjust(c ledger.AccountCharge) bool {
	kind, id, name, ok := c.Account.Split()
	if !ok {
		return false
	}
	span := resource.Window{Start: c.Start}
	stored := false
	if b.cfg.Lookup != nil {
		var l Lease
		if l, stored = b.cfg.Lookup(c.Account, c.Start); stored {
			span = l.Window
		}
	}
	r := ref{kind, id, name}
	if !stored && !b.has(r) {
		return false
	}
	a := b.account(r)
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.known(span.Start)
	if w == nil && stored {
		w = b.spanLocked(a, span)
	}
	if w == nil || a.gone {
		return false
	}
	w.consumed += c.Amount
	w.counted += c.Amount // it is no demand
	w.signal()
	return true
}

// known finds the window that starts then; nil: this node does not know it.
func (a *account) known(start resource.Time) *window {
	for _, w := range a.windows {
		if w.span.Start == start {
			return w
		}
	}
	return nil
}
