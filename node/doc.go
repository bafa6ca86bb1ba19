// Package node is one running node: it builds every part, starts them in order, owns the
// client listener, and stops everything in the reverse order.
//
// The order of a start, and why:
//
//  1. identity (boot.go): who we are, from the data folder, by founding or by joining
//  2. state machine, cluster port, Raft: from here on the replicated state moves
//  3. gossip: needs the cluster port; a hint only, so nothing waits for it
//  4. journal, budgets, limits, router, plugins: what a request passes through
//  5. client listener: health answers at once, the rest as soon as it is built
//  6. epoch (ticks.go): a new one for this process; until it is applied the leases are void
//
// A stop goes the other way: readiness off, leadership is handed over, requests finish, the
// journal is carried into Raft and the leases are given back, then everything closes.
package node
