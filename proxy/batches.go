package proxy

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/order"
	"github.com/conclave-llm/conclave/proxy/pass"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/resource"
)

// newOrders are the orders of batches of providers; nil if nobody records them.
func newOrders(s *Server) *order.Orders {
	if s.cfg.Artifacts == nil {
		return nil
	}
	return order.New(order.Config{
		Store: s.cfg.Artifacts, Upstream: s.cfg.Upstream, Budgets: s.cfg.Budgets, Journal: s.cfg.Journal, Books: s.cfg.Books, Booked: s.cfg.Booked,
		Charge: s.chargePart, Member: s.cfg.Member, MemberGone: s.cfg.MemberGone, Now: s.now, Logger: s.log,
	})
}

// Watch watches the batches that providers run, while leads says that this node is the one, and always those that it has begun
// to book; nil if nobody records them. every is when each is first asked for; 0: as package order has it.
func (s *Server) Watch(leads func() bool, every time.Duration) *order.Watch {
	if s.orders == nil {
		return nil
	}
	return order.NewWatch(order.WatchConfig{
		Store: s.cfg.Artifacts, Leads: leads, Member: s.cfg.Member, Every: every, Now: s.now, Logger: s.log,
		Look: func(ctx context.Context, a *resource.Artifact) error {
			cat := s.cfg.Catalog()
			return s.orders.Look(ctx, order.Batch{ID: a.ID, Place: order.Place(a.Order.At), Catalog: cat, View: s.view.Of(cat)}, a)
		},
	})
}

// ordersBatch says whether the call orders a batch whose results pass here.
func (c *Call) ordersBatch() bool {
	return c.route.prefix != nil && c.configured == nil && c.method == http.MethodPost && pass.BatchAt(c.rest) == pass.BatchResults
}

// passesBatches says whether the call is about batches that a provider keeps, and somebody records whose they are.
func (s *Server) passesBatches(c *Call) bool {
	return c.route.prefix != nil && c.configured == nil && s.orders != nil && c.place() != ""
}

// place is where the batches are that the call is about; "": it is about none.
func (c *Call) place() order.Place {
	at, _ := pass.Batches(c.rest)
	if q, err := url.ParseQuery(c.query); err == nil && at != "" && q.Get("api-version") != "" {
		at += "?" + url.Values{"api-version": q["api-version"]}.Encode() // Azure's
	}
	return order.Place(at)
}

// batchAt is the batch with the id as the call sees it.
func (c *Call) batchAt(id string, at order.Place) order.Batch {
	return order.Batch{ID: id, Place: at, Catalog: c.cat, View: c.view}
}

// holdBatch holds what a batch that is ordered is estimated to cost. Where there are no budgets nothing is read.
func (s *Server) holdBatch(ctx context.Context, c *Call) (err error) {
	if !c.owed || !c.ordersBatch() || !c.budgeted() {
		return nil
	}
	c.advances, err = s.orders.Hold(ctx, &order.Request{
		Catalog: c.cat, View: c.view, Levels: c.levels[:c.above], Model: c.model, Own: c.plan[0], Place: c.place(), Body: c.body,
	})
	return err
}

// budgeted says whether there is a budget under which the requests of a batch may fall.
func (c *Call) budgeted() bool {
	if slices.ContainsFunc(c.levels, func(l resource.Level) bool { return hasBudget(l.Allowance) }) {
		return true
	}
	t := c.cat.Tables()
	return slices.ContainsFunc(t.Models, func(m *resource.Model) bool { return hasBudget(&m.Allowance) }) ||
		slices.ContainsFunc(t.Deployments, func(d *resource.Deployment) bool { return hasBudget(&d.Allowance) }) ||
		slices.ContainsFunc(t.AccessGroups, func(g *resource.AccessGroup) bool { return hasBudget(&g.Allowance) })
}

func hasBudget(a *resource.Allowance) bool {
	return a != nil && (a.BudgetID != "" || len(a.Budgets) > 0)
}

// holds are what is held of each account for the call and for what it orders.
func (c *Call) holds() []ledger.AccountCharge {
	all := c.money.Holds()
	if ahead := c.advances.Holds(); len(ahead) > 0 {
		all = append(slices.Clip(all), ahead...)
	}
	return all
}

// settleAdvances charges the budgets ahead for a batch that the provider has taken, or may have, and gives the rest back. cost is
// what counts as spent now: of a batch of which nobody can learn what it uses.
func (c *Call) settleAdvances(e *llm.Error, charges []ledger.AccountCharge) (all []ledger.AccountCharge, cost resource.Money) {
	if len(c.advances) == 0 {
		return charges, 0
	}
	all = slices.Clone(charges)
	if !c.ordered && !c.mayBeTaken(e) {
		return all, 0
	}
	ahead, cost := c.advances.Settle()
	if c.ordered {
		cost = 0
	}
	return append(all, ahead...), cost
}

// releaseAdvances ends what is held for the batch: what was charged stays charged.
func (c *Call) releaseAdvances() {
	c.advances.Release()
	c.advances = nil
}

// mayBeTaken says whether the provider may run the batch though its id is not recorded: it has answered, or was cut off.
func (c *Call) mayBeTaken(e *llm.Error) bool {
	switch {
	case e == nil:
		return c.result.status/100 == 2
	case c.result.attempts == 0 || e.FromProvider:
		return false
	}
	return e.Kind == llm.Timeout || e.Kind == llm.Canceled || e.Kind == llm.Upstream && e.Code != "upstream_unreachable" && e.Code != "proxy_unreachable"
}

// billBatches books what a provider's batches have used for those who made them, once each, when an answer first tells that
// they are over: before the client learns where their output is. The watch does so, too, where nobody asks.
func (s *Server) billBatches(ctx context.Context, c *Call, status int, body []byte) {
	if !s.passesBatches(c) || status != http.StatusOK {
		return
	}
	for _, due := range order.Dues(body) {
		s.billDue(ctx, c, &due)
	}
}

// billResults does the same before the results of a batch of Anthropic's pass, which a client may ask for without
// asking whether they are there.
func (s *Server) billResults(ctx context.Context, c *Call) {
	if !s.passesBatches(c) || c.method != http.MethodGet {
		return
	}
	if id := pass.Results(c.rest); id != "" {
		s.billDue(ctx, c, &order.Due{ID: id})
	}
}

// billDue books one batch, and says so where that is not possible now.
func (s *Server) billDue(ctx context.Context, c *Call, due *order.Due) {
	if err := s.orders.Book(ctx, c.batchAt(due.ID, c.place()), due, c.result.target.Deployment.ID); err != nil {
		s.notCharged(c, due.ID, err)
	}
}

// billDeleted books a batch before the provider is told to delete it, with what it has made.
func (s *Server) billDeleted(ctx context.Context, c *Call) {
	if !s.passesBatches(c) || c.method != http.MethodDelete {
		return
	}
	id, err := url.PathUnescape(c.rest[strings.LastIndexByte(c.rest, '/')+1:])
	if err != nil {
		return
	}
	a, _, err := s.cfg.Artifacts.Get(ctx, id)
	if err != nil || a.Order == nil || a.ChargedAt != 0 {
		return
	}
	if err := s.orders.Look(ctx, c.batchAt(id, order.Place(a.Order.At)), a); err != nil {
		s.notCharged(c, id, err)
	}
}

// forgetBatch books a batch that its provider has deleted; false: that is not possible now, and the watch tries again.
func (s *Server) forgetBatch(ctx context.Context, c *Call, a *resource.Artifact) bool {
	err := s.orders.Forget(ctx, c.batchAt(a.ID, order.Place(a.Order.At)), errors.New("it was deleted"))
	if err != nil {
		s.notCharged(c, a.ID, err)
	}
	return err == nil
}

func (s *Server) notCharged(c *Call, id string, err error) {
	s.log.Warn("a provider's batch is not charged yet", "request_id", c.id, "batch", id, "error", err)
}

// rename puts the client's names of models in the place of the provider's, in the lines of a batch's files and results.
func (c *Call) rename(a *Answer) {
	if len(c.kept.Names) > 0 && c.method == http.MethodGet && (strings.HasSuffix(c.rest, "/content") || pass.Results(c.rest) != "") {
		order.Names(c.kept.Names).Rename(a)
	}
}

// chargePart books a part of a batch as if the key that made the batch had asked what it used, which happened whatever is left
// of its budget: in the windows that were charged ahead, else in those of now.
func (s *Server) chargePart(ctx context.Context, p *order.Part) error {
	c := s.calls.Get().(*Call)
	c.came = came{id: p.ID, route: s.ordering, path: s.ordering.patterns[0], method: http.MethodPost, header: http.Header{}, out: reply.Silent{}, started: s.now()}
	c.cat, c.view, c.bill, c.model = p.Batch.Catalog, p.Batch.View, p.Of, p.Target.Model
	who, err := s.auth.Holder(c.cat, p.Of.Owners.KeyID)
	if err == nil {
		c.who, c.levels = who, who.Levels(c.levels[:0])
	} else {
		c.who = &resource.Principal{} // the key may be used no more; the record of the batch says whose it is
	}
	c.chain, c.above = len(c.levels), len(c.levels)
	c.levels = c.cat.ModelLevels(c.levels, nil, c.model)
	c.fields.User, c.limit = p.Of.Owners.CustomerID, noLimit{}
	if c.money = p.Ahead; c.money == nil {
		c.money, err = s.cfg.Budgets.Reserve(ctx, budget.Request{Catalog: c.cat, Levels: c.levels, Model: c.model.Name, Free: true})
		if err != nil {
			s.recycle(c)
			return err
		}
	}
	c.result.target, c.result.attempts, c.result.usage, c.result.status = p.Target, 1, p.Bill.Usage, http.StatusOK
	c.result.began, c.result.dialled = c.started, c.started
	c.booked, c.other = &p.Bill, p.Other
	if err := openEntry(ctx, s, c); err != nil {
		c.release()
		s.recycle(c)
		return err
	}
	c.quote.Cost = p.Held
	s.finish(c, nil)
	s.recycle(c)
	return nil
}
