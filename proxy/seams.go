package proxy

import "github.com/conclave-llm/conclave/proxy/parts"

type (
	// Limiter and the others are the parts that a request passes through, as package parts has them.
	Limiter    = parts.Limiter
	LimitHold  = parts.LimitHold
	Quota      = parts.Quota
	Budgets    = parts.Budgets
	BudgetHold = parts.BudgetHold
	Router     = parts.Router
	Upstream   = parts.Upstream
	Answer     = parts.Answer
	Stream     = parts.Stream
	Journal    = parts.Journal
)

// What makes them of the real things.
var (
	FromLimiter = parts.FromLimiter
	FromBudgets = parts.FromBudgets
	FromClient  = parts.FromClient
)
