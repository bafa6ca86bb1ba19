package budget

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// Hold is what is reserved for one request in every account that it falls under.
type Hold struct {
	b       *Budgets
	request Request // without its levels
	scopes  []scope // in the order of the levels
	base    int     // how many of them Reserve held; the rest are an extension
	settled bool
	charges []ledger.AccountCharge

	scopeRoom  [maxScopes]scope
	chargeRoom [maxScopes]ledger.AccountCharge
	order      [maxScopes]*account
}

// scope is one account of a request.
type scope struct {
	holder  holder
	terms   *resource.Terms
	account *account
	window  *window        // that admitted it
	held    resource.Money // in the terms' unit
}

// Amount is the money that is held of each budget in dollars.
func (h *Hold) Amount() resource.Money { return h.request.Most.Cost }

// Holds lists what is held by account, for the journal's reservation; nil if nothing is
// held. It is valid until Extend, Settle or Release.
func (h *Hold) Holds() []ledger.AccountCharge {
	return h.list(func(s *scope) resource.Money { return s.held })
}

// Shares are what Settle would charge for the amounts, as what lasts longer than this process has to know it. It is called
// before Settle or Release.
func (h *Hold) Shares(a Amounts) (all []resource.BatchShare) {
	for i := range h.scopes {
		s := &h.scopes[i]
		if m := a.taken(s.terms); m != 0 {
			all = append(all, resource.BatchShare{
				Account: s.account.id, Start: s.window.span.Start, Amount: m, Unit: s.terms.Unit(),
				Estimate: s.terms.Unpriced == resource.UnpricedEstimate,
			})
		}
	}
	return all
}

// reserve holds the request in the accounts of the levels, beside what is held already, or
// in none of them.
func (h *Hold) reserve(ctx context.Context, levels []resource.Level) error {
	from := len(h.scopes)
	if err := h.collect(levels); err != nil {
		h.scopes = h.scopes[:from]
		return err
	}
	if len(h.scopes) == from {
		return nil
	}
	if miss := h.b.try(h, from, attempt{}); miss != nil {
		if err := h.b.wait(ctx, h, from); err != nil {
			h.scopes = h.scopes[:from]
			err.Status = overBudgetStatus(err, h.request.Catalog)
			return err
		}
	}
	return nil
}

// Extend holds the request in further budgets of the levels too, such as the deployment of
// an attempt and those that count the model which answers it, or returns what Reserve would and changes nothing.
func (h *Hold) Extend(ctx context.Context, model string, levels ...resource.Level) error {
	asked := h.request.Model
	h.request.Model = model
	err := h.reserve(ctx, levels)
	h.request.Model = asked
	return err
}

// Extended says whether Extend holds something that Drop has not given back.
func (h *Hold) Extended() bool { return len(h.scopes) > h.base }

// Drop gives back what Extend holds: the attempt has cost nothing.
func (h *Hold) Drop() {
	if !h.settled {
		h.giveBack(h.scopes[h.base:])
		h.scopes = h.scopes[:h.base]
	}
}

// Settle turns the hold into what was taken, which may be more (an overrun) or less, and
// lists it by account, for the journal's record. The list is valid until Release. A second
// Settle changes nothing.
func (h *Hold) Settle(a Amounts) []ledger.AccountCharge {
	if h.settled {
		return h.charges
	}
	h.settled = true
	var over resource.Money // the largest in dollars: a request counts once
	for i := range h.scopes {
		s := &h.scopes[i]
		taken := a.taken(s.terms)
		if s.terms.Unit() == resource.UnitUSD {
			over = max(over, taken-s.held)
		}
		w := s.window
		w.account.mu.Lock()
		w.reserved -= s.held
		w.consumed += taken
		w.signal()
		w.account.mu.Unlock()
	}
	if over > 0 {
		h.b.metrics.overruns.Inc()
		h.b.metrics.overrun.Add(dollars(over))
	}
	return h.list(func(s *scope) resource.Money { return a.taken(s.terms) })
}

// Release gives a hold back that was not settled. The Hold must not be used afterwards.
func (h *Hold) Release() {
	if h.b == nil {
		return
	}
	if !h.settled {
		h.giveBack(h.scopes)
	}
	h.free()
}

func (h *Hold) giveBack(scopes []scope) {
	for i := range scopes {
		w := scopes[i].window
		w.account.mu.Lock()
		w.reserved -= scopes[i].held
		w.signal()
		w.account.mu.Unlock()
	}
}

func (h *Hold) list(amount func(s *scope) resource.Money) []ledger.AccountCharge {
	h.charges = h.chargeRoom[:0]
	for i := range h.scopes {
		s := &h.scopes[i]
		if m := amount(s); m != 0 {
			h.charges = append(h.charges, ledger.AccountCharge{Account: s.account.id, Start: s.window.span.Start, Amount: m})
		}
	}
	if len(h.charges) == 0 {
		return nil
	}
	return h.charges
}

// free empties the hold and puts it back.
func (h *Hold) free() {
	b := h.b
	*h = Hold{}
	b.pool.Put(h)
}

// attempt says how to try.
type attempt struct {
	alone bool // there is no leader: budgets with no_quorum = share go on up to limit / nodes
	wait  bool // register with the account that has no room
}

// miss is why a hold does not fit.
type miss struct {
	scope    scope
	limit    resource.Money
	ends     resource.Time  // of the window
	left     resource.Money // of the whole window, as far as this node knows
	err      error          // the terms have no window
	wake     chan struct{}  // the caller is registered, and this is closed when something changes
	hopeless bool           // waiting would not help
	beyond   bool           // the hold and what was spent here are more than the whole budget
	ask      bool           // a grant may be had: a tick should go out
}

// try reserves in all accounts of the scopes from the number on, or in none.
func (b *Budgets) try(h *Hold, from int, how attempt) *miss {
	scopes := h.scopes[from:]
	order := h.order[:0]
	for i := range scopes {
		order = append(order, scopes[i].account)
	}
	slices.SortFunc(order, func(x, y *account) int {
		if x.serial < y.serial {
			return -1
		}
		return 1
	})
	gone := false
	for _, a := range order {
		a.mu.Lock()
		gone = gone || a.gone
	}
	if gone {
		for _, a := range order {
			a.mu.Unlock()
		}
		for i := range scopes {
			scopes[i].account = b.account(scopes[i].account.ref)
		}
		return b.try(h, from, how)
	}
	m, idle := b.tryLocked(scopes, how, b.cfg.Now())
	for _, a := range order {
		a.mu.Unlock()
	}
	if idle {
		for i := range scopes {
			b.activate(scopes[i].account)
		}
	}
	return m
}

// tryLocked also says whether an account is not among the active ones.
func (b *Budgets) tryLocked(scopes []scope, how attempt, now time.Time) (m *miss, idle bool) {
	for i := range scopes {
		s := &scopes[i]
		w, err := b.windowLocked(s.account, s.terms, now)
		if err != nil {
			return &miss{scope: *s, err: err, hopeless: true}, false
		}
		s.window = w
		if !w.known {
			w.limit, w.overdraft = s.terms.Limit(resource.At(now)), s.terms.Over()
		}
		w.lapse(resource.At(now))
		w.touch(s.held, now)
		idle = idle || !s.account.active
	}
	for i := range scopes {
		if s := &scopes[i]; s.held > 0 {
			if m := b.checkLocked(s, how, now); m != nil {
				return m, idle
			}
		}
	}
	for i := range scopes {
		scopes[i].window.reserved += scopes[i].held
	}
	return nil, idle
}

// checkLocked says why the hold does not fit the scope, or nil.
func (b *Budgets) checkLocked(s *scope, how attempt, now time.Time) *miss {
	w, at := s.window, resource.At(now)
	fits := func() bool { return w.consumed+w.reserved+s.held <= b.roomLocked(w, s.terms, how, at) }
	if fits() || (how.wait && b.refreshLocked(w, s.terms) && fits()) {
		return nil
	}
	limit, over := s.terms.Limit(at), b.overLocked(w, s.terms)
	left := limit - w.consumed - w.reserved
	if w.known {
		left = min(left, max(0, w.headroom)+w.balance())
	}
	m := &miss{scope: *s, limit: limit, ends: w.span.End, left: left, hopeless: true}
	m.beyond = w.consumed+s.held > limit+over
	if how.wait && w.hopeful(limit, over, s.held, now) {
		if w.wake == nil {
			w.wake = make(chan struct{})
		}
		w.need = max(w.need, s.held)
		w.waiting++
		m.wake, m.hopeless = w.wake, false
		m.ask = !w.known || w.headroom > 0
	}
	return m
}

// leave ends a registration.
func (m *miss) leave() {
	w := m.scope.window
	w.account.mu.Lock()
	defer w.account.mu.Unlock()
	if w.waiting--; w.waiting == 0 {
		w.need = 0
	}
}

// answered says that what the miss waited for came, if it did: the next may wait for such a thing, too.
func (m *miss) answered() {
	if m == nil {
		return
	}
	w := m.scope.window
	w.account.mu.Lock()
	defer w.account.mu.Unlock()
	w.probed = time.Time{}
}

// wait asks for a grant and waits until the hold fits or there is no more hope.
func (b *Budgets) wait(ctx context.Context, h *Hold, from int) *llm.Error {
	if !b.cfg.HasLeader() {
		if m := b.try(h, from, attempt{alone: true}); m != nil {
			return b.refuse(m, refusedAlone)
		}
		return nil
	}
	begin := b.cfg.Now()
	timer := time.NewTimer(waitAtMost)
	defer timer.Stop()
	var last *miss
	for first := true; ; first = false {
		m := b.try(h, from, attempt{wait: true})
		if m == nil {
			last.answered()
			b.metrics.waited.Observe(b.cfg.Now().Sub(begin).Seconds())
			return nil
		}
		if m.hopeless {
			return b.refuse(m, refusedSpent)
		}
		if first || m.ask {
			b.cfg.Ask()
		}
		last = m
		select {
		case <-m.wake:
			m.leave()
		case <-timer.C:
			m.leave()
			if m = b.try(h, from, attempt{}); m == nil {
				return nil
			}
			return b.refuse(m, refusedLate)
		case <-ctx.Done():
			m.leave()
			return &llm.Error{Kind: llm.Canceled, Message: "the client went away", Err: ctx.Err()}
		}
	}
}

// refusal is why a request was refused.
type refusal string

const (
	refusedSpent refusal = "spent"     // the budget has no room
	refusedLate  refusal = "late"      // no grant came in time
	refusedAlone refusal = "no_leader" // this node is cut off
)

// refuse makes the error of a miss.
func (b *Budgets) refuse(m *miss, why refusal) *llm.Error {
	b.metrics.refused.WithLabelValues(string(why)).Inc()
	s := &m.scope
	if m.err != nil {
		return &llm.Error{
			Kind: llm.Unavailable, Scope: s.holder.kind, Err: m.err,
			Message: fmt.Sprintf("budget %q of %s has no window", termsName(s.terms), s.holder),
		}
	}
	if why != refusedAlone {
		s.window.refuse(s.held)
	}
	e := &llm.Error{
		Kind: llm.OverBudget, Type: "budget_exceeded", Code: codeOf(s.terms), Scope: s.holder.kind, Entity: s.holder.id,
		ResetsAt: m.ends.Std(),
	}
	unit := s.terms.Unit()
	e.Count = &llm.Count{
		Of: termsName(s.terms), Unit: string(unit), Limit: int64(m.limit), Left: int64(m.left), Asked: int64(s.held), Late: m.left >= s.held,
	}
	if resource.IsSession(s.terms.Name) {
		e.ResetsAt = time.Time{} // it ends when nobody uses it
		e.Count.Part = llm.PartSession
	}
	e.Message = fmt.Sprintf("%s is exceeded: limit %s, %s spent or held, the request may take %s",
		titleOf(s), amountText(unit, m.limit), amountText(unit, max(0, m.limit-m.left)), amountText(unit, s.held))
	if !e.ResetsAt.IsZero() {
		e.Message += ", resets at " + e.ResetsAt.Format(time.RFC3339)
	}
	switch {
	case why == refusedAlone && !m.beyond:
		e.Message += "; this node has no leader and can lease no more of it"
		e.RetryAfter = time.Second
	case why == refusedLate && m.left > 0:
		e.Message += "; other nodes hold the rest"
		e.RetryAfter = time.Second
	default:
		e.NoRetry = true
	}
	return e
}

// The codes of refusals.
const (
	codeBudget     = "budget_exceeded"
	codeSession    = "session_budget_exceeded"
	codeIterations = "session_iterations_exceeded"
)

func codeOf(t *resource.Terms) string {
	switch {
	case !resource.IsSession(t.Name):
		return codeBudget
	case t.Unit() == resource.UnitRequests:
		return codeIterations
	default:
		return codeSession
	}
}

// titleOf names a budget for a person.
func titleOf(s *scope) string {
	if resource.IsSession(s.terms.Name) {
		return fmt.Sprintf("the session's budget of %s", s.holder)
	}
	return fmt.Sprintf("budget %q of %s", termsName(s.terms), s.holder)
}

// amountText writes an amount of the unit for a person.
func amountText(u resource.Unit, m resource.Money) string {
	switch u {
	case resource.UnitTokens, resource.UnitRequests:
		return fmt.Sprintf("%d %s", int64(m), u)
	case resource.UnitGPUSeconds:
		return m.String() + " GPU-seconds"
	default:
		return "$" + m.String()
	}
}
