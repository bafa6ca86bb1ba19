package order

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/parts"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/resource"
)

// write writes a record for each model that has answered, and one for each that was charged ahead and has not.
func (b *biller) write(ctx context.Context, a *resource.Artifact, t *router.Target, bills []Bill, have map[string]bool) error {
	order := a.Order
	if order == nil {
		order = &resource.BatchOrder{}
	}
	used := make([]bool, len(order.Holds))
	for i, bill := range bills {
		at, by := b.answered(order, t, bill.Model)
		p := Part{Batch: b.Batch, Of: a, ID: b.record(i), Target: by, Bill: bill, Other: b.other(&by, bill.Model)}
		if at >= 0 {
			b.settles(&p, &order.Holds[at], !used[at])
			used[at] = true
		}
		if have[p.ID] {
			continue
		}
		if err := b.cfg.Charge(ctx, &p); err != nil {
			return err
		}
	}
	for i := range order.Holds {
		if used[i] {
			continue
		}
		h := &order.Holds[i]
		if err := b.note(a, h, b.unused(i), ledger.Adjustment, 0, shareCharges(h.Shares, nil), have); err != nil {
			return err
		}
	}
	return nil
}

// Part is what one model has answered of a batch.
type Part struct {
	Batch  Batch
	Of     *resource.Artifact // the record of the batch
	ID     string             // of the part's own record
	Target router.Target
	Bill   Bill
	Other  string           // the model that has answered, as the provider calls it; "": the target's own
	Ahead  parts.BudgetHold // what was charged ahead; nil: nothing was
	Held   resource.Money   // what was held for it, if no other part has settled that
}

// settles makes the hold the part's: first says that no other part has settled it.
func (b *biller) settles(p *Part, h *resource.BatchHold, first bool) {
	ahead := &aheadHold{budgets: b.cfg.Budgets, shares: h.Shares}
	if !first {
		ahead.shares = slices.Clone(h.Shares)
		for i := range ahead.shares {
			ahead.shares[i].Amount = 0
		}
	}
	p.Ahead = ahead
	if first {
		p.Held = h.Cost
	}
}

// unknownPrice is what an unknown price is taken for, if a budget wants that which was charged ahead.
func unknownPrice(cat *resource.Catalog, h *resource.BatchHold) *resource.Price {
	for i := range h.Shares {
		if h.Shares[i].Estimate {
			return cat.Settings().UnknownPrice
		}
	}
	return nil
}

// note writes a record that counts for no request of a model: what was charged ahead for nothing, or is all that is known.
func (b *biller) note(a *resource.Artifact, h *resource.BatchHold, id string, flags ledger.Flags, cost resource.Money, charges []ledger.AccountCharge, have map[string]bool) error {
	if have[id] {
		return nil
	}
	o := &a.Owners
	r := &ledger.Record{
		RequestID: id, KeyID: o.KeyID, TeamID: o.TeamID, UserID: o.UserID, OrganizationID: o.OrganizationID, ProjectID: o.ProjectID, CustomerID: o.CustomerID,
		Model: h.Model, DeploymentID: h.DeploymentID, Endpoint: llm.PassThrough.String(), Status: http.StatusOK, Cost: cost, Hold: h.Cost,
		Flags: flags | ledger.Private,
	}
	if d, ok := b.Catalog.Deployment(h.DeploymentID); ok {
		r.Provider = d.Provider
	}
	if len(charges) > 0 {
		r.Charges = b.cfg.Budgets.Adjust(charges)
	}
	if err := b.cfg.Journal.Settle(0, r); err != nil {
		return fmt.Errorf("book a part of the batch: %w", err)
	}
	return nil
}

// shareCharges are the changes that make of what was charged ahead what was taken; nil: nothing was.
func shareCharges(shares []resource.BatchShare, taken *budget.Amounts) (all []ledger.AccountCharge) {
	for _, s := range shares {
		by := -s.Amount
		if taken != nil {
			by += taken.In(s.Unit, s.Estimate)
		}
		if by != 0 {
			all = append(all, ledger.AccountCharge{Account: s.Account, Start: s.Start, Amount: by})
		}
	}
	return all
}

// aheadHold is what was charged ahead for a part of a batch, as the hold of the call that books it.
type aheadHold struct {
	budgets parts.Budgets
	shares  []resource.BatchShare
}

// Holds implements parts.BudgetHold: nothing more is held.
func (*aheadHold) Holds() []ledger.AccountCharge { return nil }

// Extend implements parts.BudgetHold.
func (*aheadHold) Extend(context.Context, string, ...resource.Level) error { return nil }

// Drop implements parts.BudgetHold.
func (*aheadHold) Drop() {}

// Release implements parts.BudgetHold.
func (*aheadHold) Release() {}

// Settle implements parts.BudgetHold.
func (h *aheadHold) Settle(taken budget.Amounts) []ledger.AccountCharge {
	return h.budgets.Adjust(shareCharges(h.shares, &taken))
}
