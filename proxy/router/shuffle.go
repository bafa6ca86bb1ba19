package router

import (
	"math"

	"github.com/conclave-llm/conclave/resource"
)

// shuffle orders at random by weight. The weights are the first of weight, rpm and tpm
// that a candidate sets; a missing weight is 1, a missing rpm or tpm next to others is 0.
//
// The score is an exponential variate with the weight as its rate: the lowest of them is
// candidate i with probability weight(i) / sum, and so on among the rest (Efraimidis and
// Spirakis, "Weighted random sampling with a reservoir", 2006).
func shuffle(r *Router, cands []candidate) {
	weigh := uniform
	for _, by := range []func(*resource.Deployment) (float64, bool){byWeight, byRPM, byTPM} {
		if anySet(cands, by) {
			weigh = by
			break
		}
	}
	for i := range cands {
		w, _ := weigh(cands[i].deployment)
		cands[i].score = -math.Log(1-r.rand()) / max(w, 1e-9) // the last resort still gets a finite score
	}
}

func anySet(cands []candidate, by func(*resource.Deployment) (float64, bool)) bool {
	for i := range cands {
		if _, ok := by(cands[i].deployment); ok {
			return true
		}
	}
	return false
}

func uniform(*resource.Deployment) (float64, bool) { return 1, false }

func byWeight(d *resource.Deployment) (float64, bool) {
	if d.Weight == nil {
		return 1, false
	}
	return float64(*d.Weight), true
}

func byRPM(d *resource.Deployment) (float64, bool) { return number(d.Limits.RPM) }

func byTPM(d *resource.Deployment) (float64, bool) { return number(d.Limits.TPM) }

func number(n *int64) (float64, bool) {
	if n == nil {
		return 0, false
	}
	return float64(*n), *n > 0
}
