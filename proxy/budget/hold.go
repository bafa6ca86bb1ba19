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

// Hold is money that is reserved for one request in every account that it falls under.
type Hold struct {
	b       *Budgets
	amount  resource.Money
	scopes  []scope // in the order of the catalog
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
	window  *window // that admitted it
}

// Amount is the money that is held in each account.
func (h *Hold) Amount() resource.Money { return h.amount }

// Holds lists the held money by account, for the journal's reservation; nil if nothing is
// held. It is valid until Settle or Release.
func (h *Hold) Holds() []ledger.AccountCharge { return h.list(h.amount) }

// Settle turns the hold into the cost, which may be more (an overrun) or less, and lists it
// by account, for the journal's record. The list is valid until Release. A second Settle
// changes nothing.
func (h *Hold) Settle(cost resource.Money) []ledger.AccountCharge {
	if h.settled {
		return h.charges
	}
	h.settled = true
	for i := range h.scopes {
		w := h.scopes[i].window
		w.account.mu.Lock()
		w.reserved -= h.amount
		w.consumed += cost
		w.signal()
		w.account.mu.Unlock()
	}
	if over := cost - h.amount; over > 0 && len(h.scopes) > 0 {
		h.b.metrics.overruns.Inc()
		h.b.metrics.overrun.Add(dollars(over))
	}
	return h.list(cost)
}

// Release gives a hold back that was not settled. The Hold must not be used afterwards.
func (h *Hold) Release() {
	if h.b == nil {
		return
	}
	if !h.settled {
		for i := range h.scopes {
			w := h.scopes[i].window
			w.account.mu.Lock()
			w.reserved -= h.amount
			w.signal()
			w.account.mu.Unlock()
		}
	}
	h.free()
}

func (h *Hold) list(amount resource.Money) []ledger.AccountCharge {
	h.charges = h.chargeRoom[:0]
	if amount == 0 {
		return nil
	}
	for i := range h.scopes {
		w := h.scopes[i].window
		h.charges = append(h.charges, ledger.AccountCharge{Account: w.account.id, Start: w.span.Start, Amount: amount})
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

// try reserves in all accounts or in none.
func (b *Budgets) try(h *Hold, how attempt) *miss {
	now := b.cfg.Now()
	order := h.order[:0]
	for i := range h.scopes {
		order = append(order, h.scopes[i].account)
	}
	slices.SortFunc(order, func(x, y *account) int {
		if x.serial < y.serial {
			return -1
		}
		return 1
	})
	for _, a := range order {
		a.mu.Lock()
	}
	m, idle := b.tryLocked(h, how, now)
	for _, a := range order {
		a.mu.Unlock()
	}
	if idle {
		for i := range h.scopes {
			b.activate(h.scopes[i].account)
		}
	}
	return m
}

// tryLocked also says whether an account is not among the active ones.
func (b *Budgets) tryLocked(h *Hold, how attempt, now time.Time) (m *miss, idle bool) {
	for i := range h.scopes {
		s := &h.scopes[i]
		w, err := b.windowLocked(s.account, s.terms, now)
		if err != nil {
			return &miss{scope: *s, err: err, hopeless: true}, false
		}
		s.window = w
		if !w.known {
			w.limit, w.overdraft = s.terms.USD, s.terms.Overdraft
		}
		w.touch(h.amount, now)
		idle = idle || !s.account.active
	}
	if h.amount > 0 {
		for i := range h.scopes {
			if m := b.checkLocked(&h.scopes[i], h.amount, how, now); m != nil {
				return m, idle
			}
		}
	}
	for i := range h.scopes {
		h.scopes[i].window.reserved += h.amount
	}
	return nil, idle
}

// checkLocked says why the hold does not fit the scope, or nil.
func (b *Budgets) checkLocked(s *scope, hold resource.Money, how attempt, now time.Time) *miss {
	w := s.window
	if w.consumed+w.reserved+hold <= b.roomLocked(w, s.terms, how) {
		return nil
	}
	if how.wait && b.refreshLocked(w, s.terms) && w.consumed+w.reserved+hold <= b.roomLocked(w, s.terms, how) {
		return nil
	}
	left := s.terms.USD - w.consumed - w.reserved
	if w.known {
		left = min(left, max(0, w.headroom)+w.balance())
	}
	m := &miss{scope: *s, limit: s.terms.USD, ends: w.span.End, left: left, hopeless: true}
	m.beyond = w.consumed+hold > s.terms.USD+b.overLocked(w, s.terms)
	if how.wait && w.hopeful(s.terms, b.overLocked(w, s.terms), hold, now) {
		if w.wake == nil {
			w.wake = make(chan struct{})
		}
		w.need = max(w.need, hold)
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

// wait asks for a grant and waits until the hold fits or there is no more hope.
func (b *Budgets) wait(ctx context.Context, h *Hold) *llm.Error {
	if !b.cfg.HasLeader() {
		if m := b.try(h, attempt{alone: true}); m != nil {
			return b.refuse(m, refusedAlone)
		}
		return nil
	}
	begin := b.cfg.Now()
	timer := time.NewTimer(waitAtMost)
	defer timer.Stop()
	for first := true; ; first = false {
		m := b.try(h, attempt{wait: true})
		if m == nil {
			b.metrics.waited.Observe(b.cfg.Now().Sub(begin).Seconds())
			return nil
		}
		if m.hopeless {
			return b.refuse(m, refusedSpent)
		}
		if first || m.ask {
			b.cfg.Ask()
		}
		select {
		case <-m.wake:
			m.leave()
		case <-timer.C:
			m.leave()
			if m = b.try(h, attempt{}); m == nil {
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
	e := &llm.Error{
		Kind: llm.OverBudget, Type: "budget_exceeded", Code: "budget_exceeded", Scope: s.holder.kind, Entity: s.holder.id,
		ResetsAt: m.ends.Std(),
	}
	e.Message = fmt.Sprintf("budget %q of %s is exceeded: limit $%s, $%s spent or held",
		termsName(s.terms), s.holder, m.limit, max(0, m.limit-m.left))
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
