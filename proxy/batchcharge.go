package proxy

import (
	"context"
	"fmt"
	"net/http"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/batch"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/resource"
)

// write writes a record for each model that has answered, and one for each that was charged ahead and has not.
func (b *biller) write(ctx context.Context, a *resource.Artifact, t *router.Target, bills []batch.Bill, have map[string]bool) error {
	order := a.Order
	if order == nil {
		order = &resource.BatchOrder{}
	}
	used := make([]bool, len(order.Holds))
	for i, bill := range bills {
		at, by := b.answered(order, t, bill.Model)
		p := part{bill: bill, id: b.record(i), target: by}
		if at >= 0 {
			p.hold, p.first = &order.Holds[at], !used[at]
			used[at] = true
		}
		if have[p.id] {
			continue
		}
		if err := b.charge(ctx, a, &p); err != nil {
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

// part is what one model has answered of a batch.
type part struct {
	bill   batch.Bill
	id     string // of its record
	target router.Target
	hold   *resource.BatchHold // nil: nothing was charged ahead
	first  bool                // no other part has settled the hold
}

// charge books a part as if the key that made the batch had asked what it used, which happened whatever is left of its
// budget: in the windows that were charged ahead, else in those of now.
func (b *biller) charge(ctx context.Context, a *resource.Artifact, p *part) error {
	s := b.s
	c := s.calls.Get().(*Call)
	c.came = came{id: p.id, route: s.ordering, path: s.ordering.patterns[0], method: http.MethodPost, header: http.Header{}, out: reply.Silent{}, started: s.now()}
	c.cat, c.view, c.bill, c.model = b.cat, b.view, a, p.target.Model
	who, err := s.auth.Holder(c.cat, a.Owners.KeyID)
	if err == nil {
		c.who, c.levels = who, who.Levels(c.levels[:0])
	} else {
		c.who = &resource.Principal{} // the key may be used no more; the record of the batch says whose it is
	}
	c.chain, c.above = len(c.levels), len(c.levels)
	c.levels = c.cat.ModelLevels(c.levels, nil, c.model)
	c.fields.User, c.limit = a.Owners.CustomerID, noLimit{}
	if p.hold != nil {
		c.money = &aheadHold{budgets: s.cfg.Budgets, part: p}
	} else if c.money, err = s.cfg.Budgets.Reserve(ctx, budget.Request{Catalog: c.cat, Levels: c.levels, Model: c.model.Name, Free: true}); err != nil {
		s.recycle(c)
		return err
	}
	c.result.target, c.result.attempts, c.result.usage, c.result.status = p.target, 1, p.bill.Usage, http.StatusOK
	c.result.began, c.result.dialled = c.started, c.started
	c.booked, c.other = &p.bill, b.other(&c.result.target, p.bill.Model)
	if err := openEntry(ctx, s, c); err != nil {
		c.release()
		s.recycle(c)
		return err
	}
	if p.hold != nil && p.first {
		c.quote.Cost = p.hold.Cost
	}
	s.finish(c, nil)
	s.recycle(c)
	return nil
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
	if d, ok := b.cat.Deployment(h.DeploymentID); ok {
		r.Provider = d.Provider
	}
	if len(charges) > 0 {
		r.Charges = b.s.cfg.Budgets.Adjust(charges)
	}
	if err := b.s.cfg.Journal.Settle(0, r); err != nil {
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
	budgets Budgets
	part    *part
}

// Holds implements BudgetHold: nothing more is held.
func (*aheadHold) Holds() []ledger.AccountCharge { return nil }

// Extend implements BudgetHold.
func (*aheadHold) Extend(context.Context, string, ...resource.Level) error { return nil }

// Drop implements BudgetHold.
func (*aheadHold) Drop() {}

// Release implements BudgetHold.
func (*aheadHold) Release() {}

// Settle implements BudgetHold.
func (h *aheadHold) Settle(taken budget.Amounts) []ledger.AccountCharge {
	shares := h.part.hold.Shares
	if !h.part.first {
		shares = make([]resource.BatchShare, len(h.part.hold.Shares))
		for i, s := range h.part.hold.Shares {
			s.Amount = 0
			shares[i] = s
		}
	}
	return h.budgets.Adjust(shareCharges(shares, &taken))
}
