package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/pass"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/quote"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/resource"
)

// openEntry is the step that writes what is about to be spent, before anything can be.
func openEntry(_ context.Context, s *Server, c *Call) error {
	c.opening = ledger.Reservation{
		RequestID: c.id, Time: resource.At(c.started), User: c.fields.User, Model: c.model.Name,
		Hold: c.quote.Cost, Holds: c.holds(), CustomerID: c.fields.User, Tags: c.fields.Tags,
	}
	h, o := c.owners(), &c.opening
	o.KeyID, o.TeamID, o.OrganizationID, o.ProjectID, o.UserID = h.KeyID, h.TeamID, h.OrganizationID, h.ProjectID, h.UserID
	id, err := s.cfg.Journal.Reserve(&c.opening)
	if err != nil {
		return &llm.Error{
			Kind: llm.Unavailable, Code: "conclave_journal_unavailable", RetryAfter: time.Second,
			Message: "This node cannot record what the request will spend.", Err: err,
		}
	}
	c.entry = id
	s.listen(c)
	return nil
}

// finish ends a call in any case: it settles, and answers with the error if there is one.
func (s *Server) finish(c *Call, err error) {
	var e *llm.Error
	if errors.Is(err, errDetached) {
		err = nil
	}
	if err != nil {
		e = s.final(c, err)
	}
	if err != nil && c.own == nil {
		if c.generated() == 0 {
			c.written = nil // there is nothing to count
		}
		if c.uncounted() && spentAnyway(c, e) {
			c.result.usage = s.estimateUsage(c)
		}
		c.result.countText()
	}
	c.failed = e
	told := e
	if e != nil {
		told = s.guardFailure(c, e)
	}
	s.settle(c, e)
	if e != nil {
		s.sendError(c, told)
	}
	s.keep(c)
	s.observe(c, e)
}

// final is the error as the client and the record see it.
func (s *Server) final(c *Call, err error) *llm.Error {
	e := reply.AsError(err)
	switch {
	case e.Kind == llm.OverBudget:
		mine := *e                          // the one that came may be shared
		mine.NoRetry = mine.RetryAfter == 0 // what only waits for a lease is worth another try
		if c.cat != nil {
			mine.Status = c.cat.Settings().BudgetExceededStatus
		}
		if mine.Code == "" {
			mine.Code = reply.CodeBudget
		}
		return &mine
	case e.Kind == llm.Unauthenticated && e.Status != 0:
		// A provider refuses our credential. To the client that must not look like a refusal
		// of its own, and the provider's text may show a part of ours.
		return &llm.Error{
			Kind: llm.Upstream, Code: "conclave_upstream_unauthenticated",
			Message: "The provider does not accept the deployment's credential.", Err: err,
		}
	default:
		return e
	}
}

// spentAnyway says whether a failed request has used something that nobody reported: text
// that passed, or an attempt that the client did not wait for.
func spentAnyway(c *Call, e *llm.Error) bool {
	return c.generated() > 0 || e.Code == policy.CodeResponse || e.Kind == llm.Canceled && c.result.attempts > 0
}

// countText takes in what passed of a stream after the provider counted last: Anthropic counts
// when a message begins and when it ends. What is less than half of the text cannot be its count.
func (r *result) countText() {
	if u, made := &r.usage, quote.Tokens(r.text); r.text > 0 && r.tally.output == 0 && 2*u.Completion() < made {
		u.Output += made - u.Completion()
		u.Source = llm.UsageEstimated
	}
}

// settle prices what was used, settles limits and budget and closes the journal's entry,
// once. The last byte of an answer is sent after it.
func (s *Server) settle(c *Call, e *llm.Error) {
	if c.settled {
		return
	}
	c.settled = true
	defer c.release()
	s.price(c)
	var charges []ledger.AccountCharge
	if c.entry != 0 {
		c.limit.Settle(c.result.usage.Prompt(), c.result.usage.Completion())
		if c.extra != nil {
			c.extra.Settle(c.result.usage.Prompt(), c.result.usage.Completion())
		}
		charges = c.money.Settle(s.taken(c))
		var lost resource.Money
		if charges, lost = c.settleAdvances(e, charges); lost > 0 {
			c.result.cost, c.quote.Cost, c.result.priced, c.result.guessed = lost, lost, true, true
		}
	}
	if c.who == nil || c.route.lookup || c.here || c.detached {
		return // a stranger leaves no record, nor does a look at what is here
	}
	if err := s.cfg.Journal.Settle(c.entry, s.recordOf(c, e, charges)); err != nil {
		// The reservation stays open, and is charged in full when the journal is replayed.
		s.log.Error("journal refuses a settlement", "request_id", c.id, "error", err)
		s.metrics.unsettled.Inc()
	}
}

// taken is what the budgets are charged.
func (s *Server) taken(c *Call) budget.Amounts {
	a := budget.Amounts{Cost: c.result.cost, Tokens: c.result.usage.Total()}
	if c.booked != nil {
		a.Requests = c.booked.Requests
	}
	if c.result.attempts == 0 {
		return a
	}
	if !c.result.priced {
		a.Cost, a.Estimate = 0, c.result.cost
	}
	if d := c.view.Deployment(&c.result.target); d.List != nil && !c.result.began.IsZero() {
		a.GPU = pricing.GPUTime(d.List.Price, s.now().Sub(c.result.began))
	}
	return a
}

// price turns the usage into the cost at the deployment's price.
func (s *Server) price(c *Call) {
	if c.result.attempts == 0 {
		return
	}
	list, adjust := c.view.Price(&c.result.target, c.other)
	if list == nil {
		list = c.quote.Unknown
	} else {
		c.result.priced = true
	}
	switch u := &c.result.usage; {
	case c.booked != nil:
		c.result.cost = c.booked.Cost
	case list != nil && u.Source != llm.UsageNone:
		if u.Service == llm.ServiceUnsaid {
			u.Service = c.quote.Service
		}
		c.batchService(u)
		if list.Timed() && !c.result.began.IsZero() {
			u.Units.ServedMS = (s.now().Sub(c.result.began) + time.Millisecond - 1).Milliseconds()
		}
		c.result.cost = pricing.Bill(list, adjust, *u)
	}
	if c.isFlat() {
		c.result.cost, c.result.priced = pass.FlatOf(c.cat, c.result.target.Deployment), true
	}
	c.learn()
}

// isFlat says whether the call costs what a request costs, whatever it used.
func (c *Call) isFlat() bool {
	return c.flat > 0 && c.result.status/100 == 2 && (c.configured != nil || c.result.usage.Source != llm.UsageProvider)
}

// recordOf is the record of the call.
func (s *Server) recordOf(c *Call, e *llm.Error, charges []ledger.AccountCharge) *ledger.Record {
	r := &c.record
	now := s.now()
	*r = ledger.Record{
		RequestID: c.id, Time: resource.At(now), User: c.fields.User,
		Endpoint: c.route.endpoint.String(), Status: c.result.status, Usage: c.result.usage, Cost: c.result.cost,
		Duration: now.Sub(c.started), TTFT: c.result.firstToken, Charges: charges,
		SessionID: c.session, Prompt: c.prompt.Name, PromptVersion: c.prompt.Version, Receipt: c.receipt(e, now),
	}
	c.counted(r)
	if asked := c.asked(); asked != r.Model {
		r.Receipt.Facts.Asked = asked
	}
	if c.fields.User != r.CustomerID {
		r.Receipt.Facts.Customer = c.fields.User
	}
	h := c.owners()
	r.KeyID, r.TeamID, r.OrganizationID, r.ProjectID, r.UserID = h.KeyID, h.TeamID, h.OrganizationID, h.ProjectID, h.UserID
	r.Attempts, r.Guardrails, r.Guardrail = c.result.attempts, c.verdicts, decisive(c.verdicts)
	r.Flags = c.flags(e)
	if c.cat != nil {
		r.Callbacks = policy.Told(c.header, &c.fields, c.cat.Settings(), c.levels)
	}
	if c.entry != 0 {
		r.Hold = c.quote.Cost
	}
	if t := &c.result.target; t.Deployment != nil {
		r.DeploymentID, r.Provider = t.Deployment.ID, t.Deployment.Provider
	}
	if e != nil {
		r.ErrorKind, r.ErrorCode = e.Kind.String(), reply.Recorded(e)
		if !c.result.begun {
			r.Status = e.HTTPStatus()
		}
	}
	return r
}

// counted fills in the names that only the request says. Each makes totals that are kept for
// ever, so what was never admitted counts for the known ones alone.
func (c *Call) counted(r *ledger.Record) {
	if c.model != nil {
		r.Model = c.model.Name
	}
	if c.entry != 0 {
		r.CustomerID, r.Tags = c.fields.User, c.fields.Tags
		return
	}
	for i := range c.levels {
		switch l := &c.levels[i]; l.Kind {
		case resource.HolderCustomer:
			if l.Policy != nil { // he has a record
				r.CustomerID = l.ID
			}
		case resource.HolderTag:
			r.Tags = append(r.Tags, l.ID)
		}
	}
}

// flags are the facts about the call's record.
func (c *Call) flags(e *llm.Error) (f ledger.Flags) {
	if c.entry != 0 && c.result.cost > c.quote.Cost {
		f |= ledger.Overrun
	}
	if c.fields.Stream {
		f |= ledger.Streamed
	}
	if policy.Private(c.levels) || policy.Redacted(c.header) || e != nil && e.Code == policy.CodeCustomer {
		f |= ledger.Private
	}
	if c.result.target.Deployment != nil && !c.result.priced {
		f |= ledger.Unpriced
	}
	if e != nil && c.result.begun {
		f |= ledger.Cut
	}
	if c.result.guessed {
		f |= ledger.HoldCharged
	}
	return f
}

// vendor is whose dialect the client speaks.
func (c *Call) vendor() llm.Vendor {
	if c.route.prefix != nil {
		return reply.VendorAt(c.path)
	}
	return c.route.endpoint.Vendor()
}

// sendError tells the client: as an answer, or as the last event of a stream that has begun.
// A request that was given up may still have a client, when the node stops.
func (s *Server) sendError(c *Call, e *llm.Error) {
	if e.Kind == llm.Canceled {
		e = &llm.Error{Kind: llm.Unavailable, Code: "conclave_given_up", Message: "The request was given up."}
	}
	switch {
	case !c.out.Started():
		s.answerHeaders(c, c.out.Header())
		reply.WriteError(c.out, e, c.vendor())
	case c.result.raw:
		c.torn = true // it must not look whole
	case c.fields.Stream:
		if _, err := c.out.Write(reply.ErrorEvent(e, c.vendor(), c.billed())); err == nil {
			_ = c.out.Flush() // a client that went away has no use for it
		}
	}
}
