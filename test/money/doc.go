// Package money holds tests of the money as a whole: budgets, journals and ticks of three nodes
// against the real state machine, with lagging replicas and killed processes (TestMoney), and what
// all of it adds to a request (BenchmarkPath). Random schedules of everything that can go wrong are
// in node/torture.
package money
