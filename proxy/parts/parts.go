// Package parts are the parts that a request passes through, as the data path sees them: limits,
// budgets, router, upstream and journal, each an interface with what makes one of the real thing.
package parts

import (
	"context"
	"net/http"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/ratelimit"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// Limiter reserves requests and tokens; FromLimiter makes one of a *ratelimit.Limiter.
type Limiter interface {
	// Reserve holds one request and its tokens in every limit of its levels, or returns an
	// *llm.Error of kind RateLimited with RetryAfter.
	Reserve(ctx context.Context, r *ratelimit.Request) (LimitHold, error)
}

// LimitHold is what a request holds of its limits.
type LimitHold interface {
	// Quota is the tightest limit after the reservation.
	Quota() Quota
	// Settle replaces the held tokens by the used ones of the prompt and the completion.
	Settle(input, output int64)
	// Release ends the request, after Settle or without it.
	Release()
	// Withdraw takes the request out of the limits, as if it had not come. It is called in the place of Release.
	Withdraw()
}

// FromLimiter makes a Limiter of l. A method's results do not convert to interfaces, so this and
// the other From functions wrap a pointer, which allocates nothing.
func FromLimiter(l *ratelimit.Limiter) Limiter { return limiter{l} }

type limiter struct{ l *ratelimit.Limiter }

// Reserve implements Limiter.
func (l limiter) Reserve(ctx context.Context, r *ratelimit.Request) (LimitHold, error) {
	h, err := l.l.Reserve(ctx, r)
	if err != nil {
		return nil, err
	}
	return limitHold{h}, nil
}

type limitHold struct{ *ratelimit.Hold }

// Quota implements LimitHold.
func (h limitHold) Quota() Quota {
	q := Quota{LimitRequests: -1, LimitTokens: -1}
	if st, ok := h.Requests(); ok {
		q.LimitRequests, q.RemainingRequests = st.Limit, st.Remaining
	}
	if st, ok := h.Tokens(); ok {
		q.LimitTokens, q.RemainingTokens = st.Limit, st.Remaining
	}
	return q
}

// Quota is what is left of a limit, for the x-ratelimit-* headers; a limit of -1 is none.
type Quota struct {
	LimitRequests, RemainingRequests int64
	LimitTokens, RemainingTokens     int64
}

// Budgets reserve money; FromBudgets makes one of a *budget.Budgets.
type Budgets interface {
	// Reserve holds the most that the request may take in every account of its levels, or
	// returns an *llm.Error of kind OverBudget.
	Reserve(ctx context.Context, r budget.Request) (BudgetHold, error)
	// Hold is Reserve for work that outlives the request.
	Hold(ctx context.Context, r budget.Request) (LastingHold, error)
	// Room is the most that fits now into every budget that says clamp; false: none does.
	Room(r budget.Request) (budget.Amounts, bool)
	// Adjust changes what windows that are known were charged, and returns what it has changed.
	Adjust(charges []ledger.AccountCharge) []ledger.AccountCharge
}

// BudgetHold is what a request holds of its budgets.
type BudgetHold interface {
	// Holds are the accounts and what is held of each, valid until Extend, Settle or Release.
	Holds() []ledger.AccountCharge
	// Extend holds the same in the accounts of further levels too, and in those of the levels that count
	// the model, or returns an *llm.Error and changes nothing.
	Extend(ctx context.Context, model string, levels ...resource.Level) error
	// Drop gives back what Extend holds.
	Drop()
	// Settle replaces what is held by what was taken and returns what each account is
	// charged, valid until Release.
	Settle(taken budget.Amounts) []ledger.AccountCharge
	// Release ends the hold, after Settle or without it.
	Release()
}

// LastingHold is what is held for work that outlives the request that orders it.
type LastingHold interface {
	BudgetHold
	// Shares are what Settle would charge, for the record of the work.
	Shares(taken budget.Amounts) []resource.BatchShare
}

// Router plans and counts attempts; *router.Router is one.
type Router interface {
	// Plan orders the deployments that may answer, or returns an *llm.Error of kind
	// NotFound or Unavailable.
	Plan(cat *resource.Catalog, model *resource.Model, q router.Query) ([]router.Target, error)
	// Begin counts a request in flight at the deployment.
	Begin(deploymentID string) router.Flight
}

// Upstream makes one attempt; FromClient makes one of an *upstream.Client.
type Upstream interface {
	// Do sends the attempt and returns the answer, whose stream the caller closes. Errors
	// are *llm.Error.
	Do(ctx context.Context, a *upstream.Attempt) (Answer, error)
}

// Answer is a provider's answer: Body, or Stream if there is one.
type Answer struct {
	Status     int
	Header     http.Header
	Body       []byte
	Report     llm.Report // of Body
	Stream     Stream
	Raw        bool // Stream's events are bytes of any kind
	Translated bool // it is in the client's words, and nothing more is read of it
}

// Stream is a provider's stream of events; *upstream.Stream is one.
type Stream interface {
	// Next returns the next event, which is valid until the next call. io.EOF is the regular
	// end, an *llm.Error a broken stream.
	Next() (llm.Event, error)
	// Done says that the event that Next returned last ends the stream.
	Done() bool
	// Usage is what the provider reported so far; ok is false if it reported nothing.
	Usage() (u llm.Usage, ok bool)
	// TextBytes is the size of the text that came.
	TextBytes() int64
	// Close stops the upstream.
	Close()
}

// FromBudgets makes a Budgets of b.
func FromBudgets(b *budget.Budgets) Budgets { return budgets{b} }

type budgets struct{ b *budget.Budgets }

// Reserve implements Budgets.
func (b budgets) Reserve(ctx context.Context, r budget.Request) (BudgetHold, error) {
	h, err := b.b.Reserve(ctx, r)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// Hold implements Budgets.
func (b budgets) Hold(ctx context.Context, r budget.Request) (LastingHold, error) {
	h, err := b.b.Reserve(ctx, r)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// Room implements Budgets.
func (b budgets) Room(r budget.Request) (budget.Amounts, bool) { return b.b.Room(r) }

// Adjust implements Budgets.
func (b budgets) Adjust(charges []ledger.AccountCharge) []ledger.AccountCharge {
	return b.b.Adjust(charges)
}

// FromClient makes an Upstream of the client.
func FromClient(c *upstream.Client) Upstream { return client{c} }

// client hides that a stream is there or not behind a pointer's type.
type client struct{ c *upstream.Client }

// Do implements Upstream.
func (u client) Do(ctx context.Context, a *upstream.Attempt) (Answer, error) {
	got, err := u.c.Do(ctx, a)
	if err != nil {
		return Answer{}, err
	}
	answer := Answer{Status: got.Status, Header: got.Header, Body: got.Body, Report: got.Report}
	switch {
	case got.Stream != nil:
		answer.Stream = got.Stream
	case got.Raw != nil:
		answer.Stream, answer.Raw = got.Raw, true
	}
	return answer, nil
}

// Journal keeps what was spent; *ledger.Journal is one.
type Journal interface {
	// Reserve returns when the record survives the process's end.
	Reserve(r *ledger.Reservation) (id uint64, err error)
	// Amend replaces the holds of an open reservation, and returns as Reserve does.
	Amend(reserved uint64, holds []ledger.AccountCharge) error
	// Settle closes the reservation; 0 is for a request that was refused before it had one.
	Settle(reserved uint64, r *ledger.Record) error
}

// Books tell what the node's journal has; *ledger.Journal is one.
type Books interface {
	// Last is the number of the newest record.
	Last() uint64
	// SyncTo returns when the records up to the number survive a power cut.
	SyncTo(number uint64) error
	// Settled returns which requests whose ids begin with the prefix were settled in records with numbers above after;
	// whole is false if some of these records are gone.
	Settled(after uint64, prefix string) (ids map[string]bool, whole bool, err error)
}
