package ratelimit

import (
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/resource"
)

var simSeeds = flag.Int("sim.seeds", schedules, "how many random schedules TestSchedules tries")

// offer is what a schedule asks for: so much of one dimension.
type offer struct {
	dim   dimension
	limit int64
	after int64 // the limit that comes in the middle; limit: the same
}

func (s *sim) offer() offer {
	o := offer{limit: []int64{1, 2, 5, 7, 30, 60, 100, 300}[s.r.IntN(8)]}
	o.dim = []dimension{requests, requests, requests, tokens, input, output, parallel, parallel}[s.r.IntN(8)]
	if o.dim == parallel {
		o.limit = min(o.limit, 60)
	}
	if o.after = o.limit; s.r.IntN(4) == 0 {
		o.after = max(1, o.limit*[]int64{1, 1, 3}[s.r.IntN(3)]/2)
	}
	if o.spends() {
		o.limit, o.after = o.limit*1000, o.after*1000
	}
	return o
}

// spends says that what a request counts is estimated, and corrected at its end.
func (o offer) spends() bool { return o.dim == tokens || o.dim == input || o.dim == output }

// admits is about how many requests are within the limit.
func (o offer) admits() int64 {
	if o.spends() {
		return o.limit / 1000
	}
	return o.limit
}

// rate is how many requests a second are asked for: twice or ten times as many as are within the
// limit, but not many more than are needed to reach it soon. What is refused shows little, and
// takes most of the time.
func (o offer) rate(s *sim) float64 {
	enough := float64(o.admits()) / 60
	if o.dim == parallel {
		enough = float64(o.admits()) / 8 // they last so long
	}
	return min(enough*[]float64{2, 10}[s.r.IntN(2)], max(1, 1.5*enough)) + 0.5
}

// limits are n in the dimension.
func (o offer) limits(n int64) (l resource.Limits) {
	switch o.dim {
	case requests:
		l.RPM = &n
	case tokens:
		l.TPM = &n
	case input:
		l.InputTPM = &n
	case output:
		l.OutputTPM = &n
	default:
		l.Parallel = &n
	}
	return l
}

// cost is what a request is estimated to count, and what it does.
func (o offer) cost(s *sim) (cost, used int64) {
	if !o.spends() {
		return 1, 1
	}
	cost = 1 + s.r.Int64N(3000)
	return cost, s.r.Int64N(cost + 1)
}

// lasts is how long a request is in flight.
func (o offer) lasts(s *sim) time.Duration {
	if o.dim == parallel {
		return time.Duration(s.r.IntN(15000)) * time.Millisecond
	}
	return time.Duration(s.r.IntN(3000)) * time.Millisecond
}

// standstill is the longest that a node stands still or is cut off.
func (o offer) standstill() time.Duration {
	if o.dim == parallel {
		return 20 * time.Second // with the time in flight, below wordFor: what the package promises
	}
	return 40 * time.Second
}

// schedule is one random run; it returns what is wrong with it.
func schedule(seed uint64) string {
	s := newSim(seed, 2+int(seed%3))
	s.runUntil(s.now + time.Second)
	end := s.now + 100*time.Second
	o := s.offer()
	s.limits = o.limits(o.limit)
	share := [][]int{{}, {90, 5, 5}, {0, 100}, {50}}[s.r.IntN(4)]
	burst := []int{1, 1, 10, int(o.admits()) + 1}[s.r.IntN(4)]
	if s.r.IntN(8) > 0 {
		s.faults(end, o.standstill())
	}
	members := s.r.IntN(6)
	switch members {
	case 0:
		s.at(s.now+time.Duration(s.r.IntN(60))*time.Second, s.join)
	case 1:
		s.at(s.now+time.Duration(s.r.IntN(60))*time.Second, func() { s.leave(s.nodes[1]) })
	}
	changed := s.now + time.Duration(s.r.IntN(30))*time.Second
	if o.after != o.limit {
		s.at(changed, func() { s.relearn(o.limits(o.after)) })
	}
	s.load(end, o.rate(s), share, burst, func() (int64, int64) { return o.cost(s) }, func() time.Duration { return o.lasts(s) })
	s.runUntil(end)
	if wrong := s.judge(o, changed); wrong != "" {
		return fmt.Sprintf("seed %d: %s (members %d)", seed, wrong, members)
	}
	return ""
}

// judge says what broke the limits.
func (s *sim) judge(o offer, changed time.Duration) string {
	most := max(o.limit, o.after)
	if o.dim == parallel {
		if s.most > most {
			return fmt.Sprintf("%d in flight of %d", s.most, most)
		}
		return ""
	}
	if got, at := s.worst(0); got > most {
		return fmt.Sprintf("%s: %d of %d in the minute before %v", o.dim, got, most, at-time.Hour)
	}
	known := changed + 3*time.Second + loanFor // what was lent under the old limit has ended
	if got, at := s.worst(known); got > o.after {
		return fmt.Sprintf("%s: %d of %d, which were %d before, in the minute before %v", o.dim, got, o.after, o.limit, at-time.Hour)
	}
	return ""
}

// TestSchedules tries ten thousand random schedules of requests and faults: messages that are
// lost, late, repeated or overtake each other, cuts of both ways and of one, kills, nodes that
// stand still, join and leave, limits that are changed. In none does any minute hold more than
// the limit.
func TestSchedules(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		*simSeeds /= 10
	}
	defer debug.SetGCPercent(debug.SetGCPercent(1600)) // little is kept, much is thrown away
	seeds := make(chan uint64)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed := range seeds {
				if wrong := schedule(seed); wrong != "" {
					t.Error(wrong)
				}
			}
		})
	}
	for seed := range *simSeeds {
		seeds <- uint64(seed)
	}
	close(seeds)
	wg.Wait()
}

// TestSchedule_repeats guards what makes a failing seed of use.
func TestSchedule_repeats(t *testing.T) {
	t.Parallel()
	run := func() []admission {
		s := newSim(3, 3)
		s.limits = limits(30, -1, -1)
		s.faults(s.now+time.Minute, time.Minute)
		s.load(s.now+time.Minute, 5, nil, 1, func() (int64, int64) { return 1, 1 }, func() time.Duration { return 0 })
		s.runUntil(s.now + time.Minute)
		return s.admitted
	}
	if d := cmp.Diff(run(), run(), cmp.AllowUnexported(admission{})); d != "" {
		t.Errorf("two runs of one seed differ:\n%s", d)
	}
}

// TestBurst sends a burst of each size up to 600 to one idle node of three.
func TestBurst(t *testing.T) {
	t.Parallel()
	s := newSim(1, 3)
	s.runUntil(s.now + time.Second)
	for limit := int64(1); limit <= 600; limit++ {
		n := s.nodes[limit%3]
		p := keyWith(limits(limit, -1, -1))
		p.Key.ID = fmt.Sprint("key", limit)
		got := int64(0)
		for range limit + 3 {
			if _, err := n.l.Reserve(t.Context(), request(p, 0)); err == nil {
				got++
			}
		}
		if got != limit {
			t.Errorf("a burst on a limit of %d: %d admitted", limit, got)
		}
	}
}
