package router

import "github.com/conclave-llm/conclave/resource"

// strategy sets the score of each candidate; the lowest is tried first. Candidates of
// several order levels come in one call, and are compared within their level only.
type strategy func(r *Router, cands []candidate)

// strategies is the table of strategies: a new one is a file and a row.
var strategies = []struct {
	name  resource.Strategy
	score strategy
}{
	{resource.StrategyShuffle, shuffle},
	{resource.StrategyLeastBusy, leastBusy},
	{resource.StrategyLatency, latency},
}

// strategyOf returns the strategy with the name, and shuffle for one that this version does
// not know.
func strategyOf(name resource.Strategy) strategy {
	for i := range strategies {
		if strategies[i].name == name {
			return strategies[i].score
		}
	}
	return shuffle
}
