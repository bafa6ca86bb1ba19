package router

import "time"

// staleJitter is by how much, at most, the sum of the others is varied once it is
// staleAfter old. Nodes that read the same old sum would all choose the same deployment.
const (
	staleJitter = 0.05
	staleAfter  = 500 * time.Millisecond
)

// leastBusy prefers the fewest requests in flight: this node's own, exact, and the sum of
// the others'. Equals come in random order: less than one request is added at random.
func leastBusy(r *Router, cands []candidate) {
	for i := range cands {
		l := &cands[i].load
		cands[i].score = l.own + l.others + r.rand()
		if l.others > 0 && l.age > 0 {
			stale := min(1, l.age.Seconds()/staleAfter.Seconds())
			cands[i].score += l.others * staleJitter * stale * (2*r.rand() - 1)
		}
	}
}
