package alert

import (
	"math"
	"math/bits"
	"slices"

	"github.com/conclave-llm/conclave/resource"
)

// Percent is how much of a limit is spent, in whole per cent, rounded down. It is 0 where there is
// no limit or nothing is spent.
func Percent(settled, limit resource.Money) int64 {
	if settled <= 0 || limit <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(settled), 100)
	if hi >= uint64(limit) {
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, uint64(limit))
	return int64(min(q, math.MaxInt64))
}

// Crossed lists the thresholds, the lowest first, that lie above what was reached before and are
// reached now.
func Crossed(thresholds []int64, before, now int64) []int64 {
	var all []int64
	for _, p := range thresholds {
		if p > before && p <= now {
			all = append(all, p)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
