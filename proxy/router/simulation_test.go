package router_test

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/resource"
)

// event is something that happens at a time of a simulation.
type event struct {
	at time.Duration
	do func()
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at < e[j].at }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

// world is three nodes in front of four equal backends, in synthetic time.
type world struct {
	t      *testing.T
	clock  *clock
	start  time.Time
	queue  events
	rnd    *rand.Rand
	nodes  []*router.Router
	model  *resource.Model
	cat    *resource.Catalog
	busy   map[string]int // true in flight
	sent   map[string]int
	spread map[int]int // how far above the least the chosen backend was
	lag    time.Duration
}

func newWorld(t *testing.T, lag time.Duration) *world {
	w := &world{
		t: t, clock: newClock(), rnd: rand.New(rand.NewPCG(3, 4)), lag: lag,
		model: model("m", resource.StrategyLeastBusy),
		busy:  map[string]int{}, sent: map[string]int{}, spread: map[int]int{},
	}
	w.start = w.clock.now()
	w.cat = catalog([]*resource.Model{w.model}, deployment("m", "a"), deployment("m", "b"), deployment("m", "c"), deployment("m", "d"))
	for i := range 3 {
		w.nodes = append(w.nodes, newRouter(t, w.clock, uint64(i+1)))
	}
	return w
}

func (w *world) now() time.Duration { return w.clock.now().Sub(w.start) }

func (w *world) after(d time.Duration, do func()) { heap.Push(&w.queue, event{w.now() + d, do}) }

// gossip delivers what node i has to say to the others, after the lag.
func (w *world) gossip(i int) {
	p := w.nodes[i].Stats().Share()
	w.after(w.lag, func() {
		for j, n := range w.nodes {
			if j != i && p != nil {
				n.Stats().Merge(fmt.Sprint("node", i+1), p)
			}
		}
	})
}

// request sends one request through a node, short or long, and one in ten is given up.
func (w *world) request(node int) {
	r := w.nodes[node]
	plan, err := r.Plan(w.cat, w.model, router.Query{})
	if err != nil {
		w.t.Fatal(err)
	}
	id := plan[0].Deployment.ID
	least := w.busy[id]
	for _, other := range []string{"a", "b", "c", "d"} {
		least = min(least, w.busy[other])
	}
	w.spread[w.busy[id]-least]++
	w.busy[id]++
	w.sent[id]++
	f := r.Begin(id)
	length := time.Duration(50+w.rnd.IntN(400)) * time.Millisecond
	if w.rnd.IntN(10) == 0 {
		length = time.Duration(5+w.rnd.IntN(20)) * time.Second
	}
	o := router.Outcome{OK: true, Elapsed: length, Tokens: 100}
	if w.rnd.IntN(10) == 0 {
		length, o = length/2, router.Outcome{Kind: llm.Canceled}
	}
	w.after(length, func() {
		w.busy[id]--
		f.End(o)
		f.End(o)
	})
}

func (w *world) run() {
	for len(w.queue) > 0 {
		e := heap.Pop(&w.queue).(event)
		w.clock.add(e.at - w.now())
		e.do()
	}
}

func TestSimulation_EvenShares(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		node func(*rand.Rand) int // that the next client asks
		far  float64              // share of requests that may go over 3 above the least
	}{
		{"every node has a third of the clients", func(r *rand.Rand) int { return r.IntN(3) }, 0.02},
		{"one node has nearly all", func(r *rand.Rand) int { return max(0, r.IntN(20)-17) }, 0.02},
		{"one node has all", func(*rand.Rand) int { return 0 }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 200*time.Millisecond)
			w.serve(10*time.Minute, tt.node)
			w.judge(tt.far)
			w.idle()
		})
	}
}

// serve has clients come for a while, and waits until the last has its answer.
func (w *world) serve(length time.Duration, node func(*rand.Rand) int) {
	var arrive func()
	arrive = func() {
		if w.now() > length {
			return
		}
		w.request(node(w.rnd))
		w.after(time.Duration(w.rnd.ExpFloat64()*float64(25*time.Millisecond)), arrive)
	}
	w.after(0, arrive)
	for i := range w.nodes {
		var tick func()
		tick = func() {
			w.gossip(i)
			if w.now() < length+time.Minute {
				w.after(time.Duration(180+w.rnd.IntN(40))*time.Millisecond, tick)
			}
		}
		w.after(time.Duration(w.rnd.IntN(200))*time.Millisecond, tick)
	}
	w.run()
}

// judge checks that the backends had equal shares, and how many requests went far above the
// least busy one.
func (w *world) judge(mayBeFar float64) {
	w.t.Helper()
	total, far := 0, 0
	for _, n := range w.sent {
		total += n
	}
	for id, n := range w.sent {
		if share := float64(n) / float64(total); share < 0.22 || share > 0.28 {
			w.t.Errorf("%s got %.1f %% of %d requests, want 25 ± 3", id, 100*share, total)
		}
	}
	for over, n := range w.spread {
		if over > 3 {
			far += n
		}
	}
	if share := float64(far) / float64(total); share > mayBeFar {
		w.t.Errorf("%.2f %% of requests went to a backend with over 3 more in flight than the least: %v", 100*share, w.spread)
	}
}

// TestSimulation_FreshGossip has every node know all before each request.
func TestSimulation_FreshGossip(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	deliver := func() {
		for i := range w.nodes {
			p := w.nodes[i].Stats().Share()
			for j, n := range w.nodes {
				if i != j && p != nil {
					n.Stats().Merge(fmt.Sprint("node", i+1), p)
				}
			}
		}
	}
	n := 0
	var arrive func()
	arrive = func() {
		deliver()
		w.request(n % 3)
		if n++; n < 20000 {
			w.after(time.Duration(w.rnd.ExpFloat64()*float64(20*time.Millisecond)), arrive)
		}
	}
	w.after(0, arrive)
	w.run()
	for over, n := range w.spread {
		if over > 1 {
			t.Errorf("%d requests went to a backend with %d more in flight than the least", n, over)
		}
	}
	w.idle()
}

// TestSimulation_DeadPrimary counts what a dead deployment costs a cluster whose model has
// a fallback: three requests find it out, whichever nodes they came through, and then one
// probe an interval.
func TestSimulation_DeadPrimary(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 50*time.Millisecond)
	m := model("primary", "", "m")
	w.cat = catalog([]*resource.Model{m, w.model}, deployment("primary", "p"), deployment("m", "a"))
	const length = time.Minute
	attempts, dead := 0, true
	n := 0
	var arrive func()
	arrive = func() {
		r := w.nodes[n%3]
		n++
		plan, err := r.Plan(w.cat, m, router.Query{})
		if err != nil {
			t.Fatal(err)
		}
		for _, target := range plan {
			f := r.Begin(target.Deployment.ID)
			if target.Deployment.ID == "p" {
				attempts++
				if dead {
					f.End(router.Outcome{Kind: llm.Upstream})
					continue
				}
			}
			f.End(router.Outcome{OK: true, Elapsed: time.Millisecond})
			break
		}
		if w.now() < 2*length {
			w.after(400*time.Millisecond, arrive)
		}
	}
	w.after(time.Second, arrive)
	for i := range w.nodes {
		var tick func()
		tick = func() {
			w.gossip(i)
			if w.now() < 2*length {
				w.after(300*time.Millisecond, tick)
			}
		}
		w.after(time.Duration(i)*100*time.Millisecond, tick)
	}
	w.after(length, func() {
		if most := 3 + int(length/(5*time.Second)); attempts > most {
			t.Errorf("a dead deployment got %d attempts in %v, want at most %d", attempts, length, most)
		}
		attempts, dead = 0, false
	})
	w.run()
	if attempts < 30 {
		t.Errorf("a deployment that works again got %d of 150 requests in %v", attempts, length)
	}
}

// idle checks that nothing is left in flight when all requests have ended.
func (w *world) idle() {
	w.t.Helper()
	for i, n := range w.nodes {
		for _, l := range n.Stats().Loads() {
			if l.InFlight != 0 || w.busy[l.DeploymentID] != 0 {
				w.t.Errorf("node %d counts %d in flight on %s at idle", i+1, l.InFlight, l.DeploymentID)
			}
		}
	}
}
