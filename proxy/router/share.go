package router

import (
	"math"
	"slices"
	"time"
)

// report is what a node tells about one deployment, in the units of the wire.
type report struct {
	inFlight uint16
	ttft     uint16 // milliseconds, 0: not known
	tps      uint16 // tokens a second, 0: not known
	errors   uint8  // share in 1/255
	flags    uint8
	rest     uint16 // of a cooldown that the node found out, in tenths of a second
}

// The flags of a report.
const (
	flagSoft      = 1 << iota // the cooldown is soft
	flagRecovered             // a cooldown has ended well a short while ago

	streakShift = 2 // two bits: bad outcomes in a row, 3 for more
	streakMax   = 3
)

func (r *report) streak() int { return int(r.flags>>streakShift) & streakMax }

// Topic implements the gossip's Sharer.
func (s *Stats) Topic() byte { return Topic }

// Share implements the gossip's Sharer: the numbers of this node in at most 900 bytes. If
// there are more deployments than fit, those that changed most since they were last told
// go first, and at least a quarter of the room goes round among the rest.
func (s *Stats) Share() []byte {
	now := s.now().UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pruneLocked(now)
	if len(s.order) == 0 {
		return nil
	}
	chosen := s.order
	if len(chosen) > maxEntries {
		chosen = s.chooseLocked(now)
	}
	entries := make([]entry, 0, len(chosen))
	for _, g := range chosen {
		g.sent, g.told = g.report(now), true
		g.shared.Store(int64(g.sent.inFlight))
		entries = append(entries, entry{g.hash, g.sent})
	}
	return encode(s.boot, entries)
}

// chooseLocked picks maxEntries deployments to tell about.
func (s *Stats) chooseLocked(now int64) []*gauge {
	type changed struct {
		gauge *gauge
		by    float64
	}
	var all []changed
	for _, g := range s.order {
		if by := g.changed(now); by > 0 {
			all = append(all, changed{g, by})
		}
	}
	slices.SortStableFunc(all, func(a, b changed) int {
		switch {
		case a.by > b.by:
			return -1
		case a.by < b.by:
			return 1
		}
		return 0
	})
	all = all[:min(len(all), maxEntries*3/4)]
	chosen := make([]*gauge, 0, maxEntries)
	taken := make(map[*gauge]bool, maxEntries)
	for _, c := range all {
		chosen = append(chosen, c.gauge)
		taken[c.gauge] = true
	}
	for len(chosen) < maxEntries { // there are more than maxEntries, so this ends
		s.cursor = (s.cursor + 1) % len(s.order)
		if g := s.order[s.cursor]; !taken[g] {
			chosen = append(chosen, g)
			taken[g] = true
		}
	}
	return chosen
}

// pruneLocked drops the numbers of deployments that nobody has used for long. A flight that
// begins in the same moment counts on the dropped numbers, and is not seen for its duration.
func (s *Stats) pruneLocked(now int64) {
	idle := func(g *gauge) bool {
		return g.inFlight.Load() == 0 && now-g.used.Load() > int64(idleLife)
	}
	if !slices.ContainsFunc(s.order, idle) {
		return
	}
	next := make(map[string]*gauge, len(s.order))
	s.order = slices.DeleteFunc(s.order, func(g *gauge) bool {
		if idle(g) {
			delete(s.byHash, g.hash)
			return true
		}
		next[g.id] = g
		return false
	})
	s.gauges.Store(&next)
}

// report puts the numbers of a deployment into the units of the wire.
func (g *gauge) report(now int64) report {
	ttft, _ := g.ttft.value(now)
	tps, _ := g.tps.value(now)
	errs, _ := g.errors.value(now)
	n := g.breaker.tell(now)
	r := report{
		inFlight: saturate(float64(g.inFlight.Load())),
		ttft:     saturate(math.Ceil(ttft * 1000)),
		tps:      saturate(math.Ceil(tps)),
		errors:   uint8(math.Round(min(max(errs, 0), 1) * 255)),
		rest:     saturate(math.Ceil(time.Duration(n.rest).Seconds() * 10)),
	}
	if n.soft && n.rest > 0 {
		r.flags |= flagSoft
	}
	if n.recovered {
		r.flags |= flagRecovered
	}
	r.flags |= uint8(min(n.streak, streakMax)) << streakShift
	return r
}

func saturate(x float64) uint16 { return uint16(min(max(x, 0), math.MaxUint16)) }

// changed says how much a deployment's numbers differ from what was last told.
func (g *gauge) changed(now int64) float64 {
	r := g.report(now)
	if !g.told {
		return 1
	}
	by := math.Abs(float64(r.inFlight) - float64(g.sent.inFlight))
	if t := float64(max(r.ttft, g.sent.ttft)); t > 0 {
		if by2 := math.Abs(float64(r.ttft)-float64(g.sent.ttft)) / t; by2 > 0.2 {
			by += by2
		}
	}
	if (r.rest > 0) != (g.sent.rest > 0) || r.flags != g.sent.flags {
		by += 1000 // a breaker goes before everything
	}
	return by
}

// Merge implements the gossip's Sharer: it takes in what another node shares. A payload that
// cannot be read is dropped.
func (s *Stats) Merge(nodeID string, payload []byte) {
	boot, entries, err := decode(payload)
	if err != nil || nodeID == s.self {
		return
	}
	now := s.now().UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.peers[nodeID]
	switch {
	case !ok:
		p = &peer{boot: boot, reports: make(map[uint64]report, len(entries))}
		s.peers[nodeID] = p
	case p.boot != boot: // what an earlier process had in flight died with it
		p.boot = boot
		s.clearLocked(p)
	case len(p.reports)+len(entries) > maxReports:
		s.clearLocked(p)
	}
	p.seen.Store(now)
	for _, e := range entries {
		p.reports[e.hash] = e.report
		if g, ok := s.byHash[e.hash]; ok {
			s.hearLocked(g)
			s.heed(g, e.report, now)
		}
	}
}

// clearLocked drops all that a peer has told about deployments.
func (s *Stats) clearLocked(p *peer) {
	old := p.reports
	p.reports = make(map[uint64]report)
	for hash := range old {
		if g, ok := s.byHash[hash]; ok {
			s.hearLocked(g)
		}
	}
}

// heed follows a peer's word about a cooldown. Nodes that heard the same add a different
// while, so that one of them probes first.
func (s *Stats) heed(g *gauge, r report, now int64) {
	switch {
	case r.rest > 0:
		rest := time.Duration(r.rest) * (time.Second / 10)
		jitter := time.Duration(s.rand() * adoptJitter * float64(min(rest, s.cooldown)))
		g.breaker.adopt(now, now+int64(rest+jitter), r.flags&flagSoft != 0)
	case r.flags&flagRecovered != 0:
		g.breaker.recover(now)
	}
}
