package quote

import (
	"sort"

	"github.com/conclave-llm/conclave/proxy/budget"
)

// leastOutput is how many tokens a clamped request must still be allowed.
const leastOutput = 16

// Clampable says whether a smaller maximum of output would make the request cheaper for sure.
func (q *Quote) Clampable() bool { return q.choices != 0 && !q.unpriced }

// Clamp lowers the quote to what there is room for. It returns the most tokens that each
// completion may have, 0 if there is too little room or nothing to lower.
func (r *Request) Clamp(q *Quote, room budget.Amounts) (most int64) {
	if !q.Clampable() {
		return 0
	}
	above := int(q.Output/q.choices - leastOutput)
	// The first number of tokens above the least that costs too much.
	over := sort.Search(max(0, above), func(n int) bool {
		output := product(int64(n)+leastOutput, q.choices)
		return q.Prompt+output > room.Tokens || r.costAt(q, output) > room.Cost
	})
	if over == 0 || above <= 0 {
		return 0
	}
	most = int64(over) - 1 + leastOutput
	q.Output = product(most, q.choices)
	q.Cost = r.costAt(q, q.Output)
	return most
}
