// Package money holds the money's tests: budgets, journals and ticks of three nodes against
// the real state machine, with lagging replicas and killed processes (TestMoney), thousands
// of random schedules of everything that can go wrong, each repeatable by its number
// (TestSchedules), and the ends of windows in every zone (TestWindows).
package money
