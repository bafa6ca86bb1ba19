// Package money holds the money's test: budgets, journals and ticks of three nodes against
// the real state machine, with lagging replicas and killed processes.
package money
