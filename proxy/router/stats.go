package router

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Topic is the gossip topic of the router's numbers.
const Topic byte = 1

const (
	// fadeStart and fadeEnd are the ages between which what a node has said loses its
	// weight: a node that is silent for two seconds has none left.
	fadeStart = time.Second
	fadeEnd   = 2 * time.Second

	// sampleLife is how long an average outlives its last sample: a deployment that was
	// slow once is tried again after it.
	sampleLife = time.Minute

	// idleLife is how long the numbers of a deployment outlive its last request.
	idleLife = time.Hour

	// ewmaShare is the share of the newest sample: about the last ten count.
	ewmaShare = 0.2

	// maxReports bounds what is kept of one node.
	maxReports = 1 << 16

	// adoptJitter varies, at most by its share, when nodes probe a deployment that they
	// have heard is cooling down.
	adoptJitter = 0.2
)

// Stats are the numbers of all deployments: this node's own and what others have told.
// It is safe for concurrent use.
type Stats struct {
	self     string
	now      func() time.Time
	rand     func() float64
	cooldown time.Duration
	boot     uint64 // tells this process from the node's earlier ones

	gauges atomic.Pointer[map[string]*gauge] // replaced as a whole under mu

	mu     sync.Mutex // guards what follows, and sent and told in every gauge
	byHash map[uint64]*gauge
	order  []*gauge // in which Share goes round
	cursor int
	peers  map[string]*peer
}

// peer is what one other node has told.
type peer struct {
	boot    uint64
	seen    atomic.Int64 // Unix nanoseconds; 0: it is gone
	reports map[uint64]report
}

// gauge holds the numbers of one deployment.
type gauge struct {
	id       string
	hash     uint64
	inFlight atomic.Int64
	used     atomic.Int64 // Unix nanoseconds of the last Begin
	ttft     ewma         // seconds to the first token
	tps      ewma         // tokens a second
	errors   ewma         // share
	breaker  breaker
	others   atomic.Pointer[[]heard] // replaced as a whole under Stats.mu
	sent     report                  // what Share has told last
	told     bool                    // that it has told anything
	shared   atomic.Int64            // in flight as Share has told it last
}

// heard is what one peer says about one deployment.
type heard struct {
	peer   *peer
	report report
}

// load is how busy a deployment is, as far as this node knows.
type load struct {
	own    float64       // in flight from this node
	change float64       // of own since the others were told
	others float64       // in flight from the others, faded
	age    time.Duration // of the oldest of what others say
	ttft   float64       // seconds, 0: not known
}

// Load is the numbers of one deployment, for people to look at.
type Load struct {
	DeploymentID string
	InFlight     int64         // from this node
	Others       float64       // in flight from the other nodes, as last heard and faded
	FirstToken   time.Duration // average over the nodes; 0: not known
	TokensPerSec float64       // of this node's answers; 0: not known
	ErrorShare   float64       // of this node's attempts
	CoolsDown    time.Duration // time left; 0: it does not
}

func newStats(self string, now func() time.Time, rand func() float64, cooldown time.Duration) *Stats {
	s := &Stats{
		self: self, now: now, rand: rand, cooldown: cooldown,
		boot:   uint64(now().UnixNano()),
		byHash: map[uint64]*gauge{},
		peers:  map[string]*peer{},
	}
	s.gauges.Store(&map[string]*gauge{})
	return s
}

// gauge returns the numbers of the deployment, which it makes if there are none.
func (s *Stats) gauge(id string) *gauge {
	if g, ok := (*s.gauges.Load())[id]; ok {
		return g
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := *s.gauges.Load()
	if g, ok := old[id]; ok {
		return g
	}
	g := &gauge{id: id, hash: hashString(id)}
	g.used.Store(s.now().UnixNano())
	s.byHash[g.hash] = g
	s.order = append(s.order, g)
	s.hearLocked(g)
	next := maps.Clone(old)
	next[id] = g
	s.gauges.Store(&next)
	return g
}

// load sums up the deployment's numbers.
func (g *gauge) load(now int64) load {
	l := load{own: float64(max(0, g.inFlight.Load()))}
	l.change = l.own - float64(g.shared.Load())
	weight, sum := 0.0, 0.0
	if t, ok := g.ttft.value(now); ok {
		weight, sum = 1, t
	}
	if others := g.others.Load(); others != nil {
		for i := range *others {
			h := &(*others)[i]
			age := now - h.peer.seen.Load()
			w := fade(age)
			if w == 0 {
				continue
			}
			l.others += w * float64(h.report.inFlight)
			l.age = max(l.age, time.Duration(age))
			if h.report.ttft > 0 {
				weight += w
				sum += w * float64(h.report.ttft) / 1000
			}
		}
	}
	if weight > 0 {
		l.ttft = sum / weight
	}
	return l
}

// fade is the weight of what is age nanoseconds old.
func fade(age int64) float64 {
	switch {
	case age <= int64(fadeStart):
		return 1
	case age >= int64(fadeEnd):
		return 0
	}
	return float64(int64(fadeEnd)-age) / float64(fadeEnd-fadeStart)
}

// Forget drops what a node has told. Call it when the gossip finds the node dead or gone.
func (s *Stats) Forget(nodeID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.peers[nodeID]
	if !ok {
		return
	}
	p.seen.Store(0)
	delete(s.peers, nodeID)
	for hash := range p.reports {
		if g, ok := s.byHash[hash]; ok {
			s.hearLocked(g)
		}
	}
}

// hearLocked collects what the peers say about a deployment.
func (s *Stats) hearLocked(g *gauge) {
	var all []heard
	streak := 0
	for _, p := range s.peers {
		if r, ok := p.reports[g.hash]; ok {
			all = append(all, heard{p, r})
			streak += r.streak()
		}
	}
	g.others.Store(&all)
	g.breaker.setOthers(streak)
}

// Loads returns the numbers of every deployment that this node has used, by id.
func (s *Stats) Loads() []Load {
	now := s.now().UnixNano()
	gauges := *s.gauges.Load()
	out := make([]Load, 0, len(gauges))
	for _, g := range gauges {
		l := g.load(now)
		tps, _ := g.tps.value(now)
		errs, _ := g.errors.value(now)
		out = append(out, Load{
			DeploymentID: g.id,
			InFlight:     int64(l.own),
			Others:       l.others,
			FirstToken:   time.Duration(l.ttft * float64(time.Second)),
			TokensPerSec: tps,
			ErrorShare:   errs,
			CoolsDown:    time.Duration(max(0, g.breaker.rest(now))),
		})
	}
	slices.SortFunc(out, func(a, b Load) int { return cmp.Compare(a.DeploymentID, b.DeploymentID) })
	return out
}

// ewma is an exponentially weighted moving average. The zero value has no sample.
type ewma struct {
	bits atomic.Uint64 // of the float64
	at   atomic.Int64  // Unix nanoseconds of the last sample; 0: none
}

func (e *ewma) add(x float64, now int64) {
	fresh := now-e.at.Load() > int64(sampleLife)
	for {
		old := e.bits.Load()
		next := x
		if !fresh {
			next = math.Float64frombits(old)*(1-ewmaShare) + x*ewmaShare
		}
		if e.bits.CompareAndSwap(old, math.Float64bits(next)) {
			break
		}
		fresh = false
	}
	e.at.Store(now)
}

// value returns the average, and false if it has no sample or only old ones.
func (e *ewma) value(now int64) (float64, bool) {
	at := e.at.Load()
	if at == 0 || now-at > int64(sampleLife) {
		return 0, false
	}
	return math.Float64frombits(e.bits.Load()), true
}
