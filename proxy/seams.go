package proxy

import "github.com/conclave-llm/conclave/proxy/parts"

// The parts that a request passes through, as package parts has them.
type (
	// Limiter reserves requests and tokens.
	Limiter = parts.Limiter
	// LimitHold is what a request holds of its limits.
	LimitHold = parts.LimitHold
	// Quota is what is left of a limit.
	Quota = parts.Quota
	// Budgets reserve money.
	Budgets = parts.Budgets
	// BudgetHold is what a request holds of its budgets.
	BudgetHold = parts.BudgetHold
	// LastingHold is what is held for work that outlives its request.
	LastingHold = parts.LastingHold
	// Books tell what the journal has.
	Books = parts.Books
	// Router plans and counts attempts.
	Router = parts.Router
	// Upstream makes one attempt.
	Upstream = parts.Upstream
	// Answer is a provider's answer.
	Answer = parts.Answer
	// Stream is a provider's stream of events.
	Stream = parts.Stream
	// Journal keeps what was spent.
	Journal = parts.Journal
)

// What makes the parts of the real things.
var (
	FromLimiter = parts.FromLimiter
	FromBudgets = parts.FromBudgets
	FromClient  = parts.FromClient
)
