// Package router decides which deployments a request is sent to, and in what order.
//
// One call of [Router.Plan] goes: filter (blocked, weight 0, no credential, full, cooling
// down) → strategy (a row of the table in strategy.go gives each candidate a score) → order
// levels → the plan, and behind it the plans of the model's fallbacks. The caller tries the
// targets one after the other and reports each attempt through a [Flight].
//
// Numbers come from [Stats]: this node's own, exact, and the sums of what the other nodes
// gossip, which fade to nothing two seconds after a node was last heard. Gossip is a hint:
// without it every node balances its own traffic.
//
// A plan allocates once, for the targets that it returns. The candidates live in a pooled
// scratch and the numbers are read from atomics. A lock is taken only at the first sight of
// a deployment and to claim a probe; [Flight.End] takes the deployment's own for a moment.
package router
