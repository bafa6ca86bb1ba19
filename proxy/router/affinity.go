package router

import "math"

// boundFactor is how far above the mean a deployment's load may be before the sessions that
// belong to it move on (consistent hashing with bounded loads, Mirrokni and others, 2016).
const boundFactor = 1.25

// affinity orders by the rendezvous hash of session and deployment, which every node
// computes alike: a session stays where it is, and only those of a lost deployment move.
// A deployment over the bound comes after all that are not.
func (p *planner) affinity(cands []candidate) {
	total := 1.0 // with this request
	for i := range cands {
		total += cands[i].load.own + cands[i].load.others
	}
	bound := math.Ceil(boundFactor * total / float64(len(cands)))
	session := hashString(p.q.SessionID)
	for i := range cands {
		l := &cands[i].load
		h := mix(session ^ cands[i].gauge.hash)
		cands[i].score = 1 - float64(h>>11)/(1<<53)
		if l.own+l.others+1 > bound {
			cands[i].score++
		}
	}
}

// mix spreads the bits of x (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// hashString is FNV-1a, the same in every process and version: nodes compare it.
func hashString(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h ^= uint64(s[i])
		h *= 1099511628211
	}
	return h
}
