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
//
// What the others have told is a few hundred milliseconds old. Since then they have most
// likely done what this node has done since it told them, in proportion to their share of
// the traffic: that change is added to their sum. In simulation_test.go it takes requests
// that go to a backend with over three more in flight than the least from 13 to 1 in 100.
func leastBusy(r *Router, cands []candidate) {
	own, others := 1.0, 0.0
	for i := range cands {
		own += cands[i].load.own
		others += cands[i].load.others
	}
	for i := range cands {
		l := &cands[i].load
		cands[i].score = l.own + max(0, l.others+l.change*others/own) + r.rand()
		if l.others > 0 && l.age > 0 {
			stale := min(1, l.age.Seconds()/staleAfter.Seconds())
			cands[i].score += l.others * staleJitter * stale * (2*r.rand() - 1)
		}
	}
}
