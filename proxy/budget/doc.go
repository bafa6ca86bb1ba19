// Package budget admits requests against money. Each node holds leases, parts of budgets
// that the replicated state has granted it, and admits a request in memory only if its
// hold, the most that it may cost, fits into the node's lease of every budget that the
// request falls under:
//
//	consumed + reserved + hold ≤ granted + overdraft
//
// The replicated state never grants more than a budget has left, so in every window, in
// every order of events,
//
//	spend ≤ limit + nodes × overdraft + overruns
//
// where an overrun is what a request cost beyond its hold; both are metrics. A budget with
// no_quorum = "share" adds limit for the nodes that are cut off, each limit / nodes. Neither
// clocks nor timeouts take part in the bound: a lease is void only in another epoch of the
// node or another window of the budget.
//
// What the node wants and gives back travels in the ledger's ticks (Demand); what it has
// been granted comes from the node's own copy of the replicated state (Leases).
package budget
