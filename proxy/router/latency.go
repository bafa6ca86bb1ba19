package router

// latency prefers the lowest time to first token. Those within the buffer above the lowest
// are equal and come in random order, before the rest in order of their time. One without a
// sample is tried first, by one request at a time; until it answers, it counts as equal to
// the best.
func latency(r *Router, cands []candidate) {
	lowest := 0.0
	for i := range cands {
		if t := cands[i].load.ttft; t > 0 && (lowest == 0 || t < lowest) {
			lowest = t
		}
	}
	bound := lowest * (1 + r.buffer)
	for i := range cands {
		l := &cands[i].load
		switch {
		case l.ttft == 0 && l.own == 0:
			cands[i].score = r.rand() - 1
		case l.ttft <= bound:
			cands[i].score = r.rand()
		default:
			cands[i].score = l.ttft / bound // above 1
		}
	}
}
