package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"time"

	"github.com/conclave-llm/conclave/resource"
)

// sim is a cluster in made-up time, in one goroutine: what happens while a node waits for an
// answer happens inside its question.
type sim struct {
	r      *rand.Rand
	now    time.Duration
	queue  simQueue
	seq    int
	nodes  []*simNode
	drop   float64 // of messages
	twice  float64 // of messages: they come again
	delay  time.Duration
	limits resource.Limits // of nodes that know no others

	admitted []admission
	flying   int64
	most     int64 // in flight at once
}

type admission struct {
	at   time.Duration
	cost int64
	node int
}

type simNode struct {
	i       int
	id      string
	key     string   // the limited one
	ask     *Request // of the key, with the limits that this node knows; nil: to be made
	run     int      // counts its runs; odd: it is up
	l       *Limiter
	tape    *memTape
	members []string
	away    []bool // peers that it cannot reach
	paused  time.Duration
	flying  int64
	gone    bool
	offset  time.Duration // of its clock
}

// simEvent happens at a time; where it is a node's, only in that run of it.
type simEvent struct {
	at  time.Duration
	seq int
	do  func()
	n   *simNode
	run int
}

func (e *simEvent) before(o *simEvent) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// simQueue is a heap of events. container/heap would make a pointer of each, which was a fifth
// of a schedule's time.
type simQueue []simEvent

func (q *simQueue) push(e simEvent) {
	h := append(*q, e)
	i := len(h) - 1
	for up := (i - 1) / 2; i > 0 && h[i].before(&h[up]); up = (i - 1) / 2 {
		h[i], h[up] = h[up], h[i]
		i = up
	}
	*q = h
}

func (q *simQueue) pop() simEvent {
	h := *q
	first, last := h[0], len(h)-1
	h[0], h[last] = h[last], simEvent{}
	h = h[:last]
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < last; c++ {
			if h[c].before(&h[least]) {
				least = c
			}
		}
		if least == i {
			break
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
	*q = h
	return first
}

func (s *sim) at(t time.Duration, do func()) { s.put(simEvent{at: t, do: do}) }

func (s *sim) put(e simEvent) {
	s.seq++
	e.at, e.seq = max(e.at, s.now), s.seq
	s.queue.push(e)
}

// runUntil lets happen what happens until t.
func (s *sim) runUntil(t time.Duration) {
	for len(s.queue) > 0 && s.queue[0].at <= t {
		e := s.queue.pop()
		s.now = max(s.now, e.at)
		switch n := e.n; {
		case n == nil:
			e.do()
		case n.run != e.run || e.run%2 == 0:
		case n.paused > s.now:
			e.at = n.paused
			s.put(e)
		default:
			e.do()
		}
	}
	s.now = max(s.now, t)
}

// on lets the node do something once it runs and is not paused; it is forgotten if the node
// has ended before.
func (s *sim) on(n *simNode, t time.Duration, do func()) {
	s.put(simEvent{at: t, do: do, n: n, run: n.run})
}

func newSim(seed uint64, nodes int) *sim {
	s := &sim{r: rand.New(rand.NewPCG(seed, 7)), delay: time.Millisecond, now: time.Hour}
	var ids []string
	for i := range nodes {
		ids = append(ids, fmt.Sprint("n", i))
	}
	for i := range nodes {
		s.nodes = append(s.nodes, &simNode{
			i: i, id: ids[i], tape: &memTape{}, members: ids, away: make([]bool, nodes+2),
			offset: time.Duration(s.r.Int64N(int64(1000 * time.Second))),
		})
	}
	for _, n := range s.nodes {
		s.start(n)
	}
	return s
}

// simTape and simPeers are those of one run of a node: what a dead process does has no effect.
type simTape struct {
	*memTape
	n   *simNode
	run int
}

func (t simTape) Append(b []byte) error {
	if t.n.run != t.run {
		return nil
	}
	return t.memTape.Append(b)
}

type simPeers struct {
	s   *sim
	n   *simNode
	run int
}

func (s *sim) start(n *simNode) {
	n.run++
	n.l = New(Config{
		NodeID: n.id, Members: func() []string { return n.members },
		Peers: simPeers{s, n, n.run}, Tape: simTape{n.tape, n, n.run}, Boot: s.r.Uint64() | 1,
		Clock: func() time.Duration { return s.now + n.offset },
	})
	s.round(n)
}

func (s *sim) kill(n *simNode) {
	n.run++
	s.flying -= n.flying
	n.flying = 0
}

func (s *sim) round(n *simNode) {
	s.on(n, s.now+time.Duration(50+s.r.IntN(900))*time.Millisecond, func() {
		n.l.Round()
		s.round(n)
	})
}

func (s *sim) target(id string) *simNode {
	for _, n := range s.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}

func (s *sim) lost(from, to *simNode) bool {
	return from.away[to.i] || s.r.Float64() < s.drop
}

// times is how often a message comes that is not lost.
func (s *sim) times() int {
	if s.twice > 0 && s.r.Float64() < s.twice {
		return 2
	}
	return 1
}

func (s *sim) lag() time.Duration { return time.Duration(s.r.Int64N(int64(2*s.delay) + 1)) }

func (p simPeers) Send(id string, b []byte) {
	to := p.s.target(id)
	if to == nil || p.n.run != p.run || p.s.lost(p.n, to) {
		return
	}
	for range p.s.times() {
		p.s.on(to, p.s.now+p.s.lag(), func() { _ = to.l.Receive(p.n.id, b) })
	}
}

var errLost = errors.New("no answer")

func (p simPeers) Ask(_ context.Context, id string, q []byte, tooLate func([]byte)) ([]byte, error) {
	s, to := p.s, p.s.target(id)
	late := s.now + askAtMost
	if to == nil || p.n.run != p.run || s.lost(p.n, to) {
		s.runUntil(late)
		return nil, errLost
	}
	var answer []byte
	came, gone := time.Duration(0), false
	afterwards := func() {
		if p.n.run == p.run {
			s.on(p.n, came, func() { tooLate(answer) })
		}
	}
	for range s.times() {
		s.on(to, s.now+s.lag(), func() {
			b, err := to.l.Answer(p.n.id, q)
			if err == nil && came == 0 && !s.lost(to, p.n) {
				answer, came = b, s.now+s.lag()
				if gone {
					afterwards()
				}
			}
		})
	}
	for s.now < late && (came == 0 || s.now < came) {
		step := late
		if came != 0 {
			step = min(came, late)
		} else if len(s.queue) > 0 {
			step = min(late, max(s.now, s.queue[0].at))
		}
		s.runUntil(step)
	}
	if p.n.paused > s.now { // the answer may be there when it wakes up
		s.runUntil(p.n.paused)
		late = s.now
	}
	if came == 0 || came > late {
		if gone = true; came != 0 {
			afterwards()
		}
		return nil, errLost
	}
	return answer, nil
}

// request lets the node be asked; after so long without an answer the client goes away.
func (s *sim) request(n *simNode, cost, used int64, lasts time.Duration, tries int) {
	s.on(n, s.now, func() {
		if n.ask == nil {
			s.learn(n, s.limits)
		}
		for _, d := range [...]dimension{requests, tokens, input, output, parallel} {
			if c := n.l.find((holder{kind: "key", id: n.key}).limit(d)); c != nil {
				asking := c.asking
				c.mu.Unlock()
				if asking && tries > 0 { // it would have to wait for the one that asks
					s.at(s.now+5*time.Millisecond, func() { s.request(n, cost, used, lasts, tries-1) })
				}
				if asking {
					return
				}
			}
		}
		run := n.run
		r := *n.ask
		if r.Input = cost; r.Levels[0].Allowance.Limits.OutputTPM != nil {
			r.Input, r.Output = 0, cost
		}
		h, err := n.l.Reserve(context.Background(), &r)
		if err != nil || n.run != run {
			return
		}
		s.admitted = append(s.admitted, admission{s.now, used, n.i})
		n.flying++
		s.flying++
		s.most = max(s.most, s.flying)
		s.on(n, s.now+lasts, func() {
			n.flying--
			s.flying--
			if r.Output > 0 {
				h.Settle(0, used)
			} else {
				h.Settle(used, 0)
			}
			h.Release()
		})
	})
}

// learn tells the node what the key's limits are.
func (s *sim) learn(n *simNode, l resource.Limits) {
	who := keyWith(l)
	n.key, n.ask = who.Key.ID, &Request{Levels: who.Levels(nil)}
}

// relearn lets the nodes hear of other limits one after the other, within three seconds.
func (s *sim) relearn(l resource.Limits) {
	s.limits = l // of those that join
	for _, n := range s.nodes {
		s.at(s.now+time.Duration(s.r.IntN(3000))*time.Millisecond, func() { s.learn(n, l) })
	}
}

// worst is the most that any 60 s hold that begin at from or later.
func (s *sim) worst(from time.Duration) (most int64, at time.Duration) {
	slices.SortStableFunc(s.admitted, func(a, b admission) int { return int(a.at - b.at) })
	late := s.admitted[sort.Search(len(s.admitted), func(i int) bool { return s.admitted[i].at >= from }):]
	sum, first := int64(0), 0
	for _, a := range late {
		sum += a.cost
		for a.at-late[first].at >= time.Minute {
			sum -= late[first].cost
			first++
		}
		if sum > most {
			most, at = sum, a.at
		}
	}
	return most, at
}

// faults makes all that can go wrong go wrong.
func (s *sim) faults(until, most time.Duration) {
	spell := func(mean int) time.Duration {
		return time.Duration(s.r.ExpFloat64() * float64(mean) * float64(time.Second))
	}
	s.drop = []float64{0, 0, 0.02, 0.2}[s.r.IntN(4)]
	s.twice = []float64{0, 0, 0.1}[s.r.IntN(3)]
	s.delay = []time.Duration{200 * time.Microsecond, 2 * time.Millisecond, 40 * time.Millisecond}[s.r.IntN(3)]
	for t := s.now + spell(10); t < until; t += spell(15) {
		n := s.nodes[s.r.IntN(len(s.nodes))]
		kind, lasts := s.r.IntN(4), min(spell(10), most)
		s.at(t, func() {
			switch kind {
			case 0: // cut off, both ways or one
				ways := s.r.IntN(3)
				for _, o := range s.nodes {
					n.away[o.i], o.away[n.i] = ways != 1, ways != 2
				}
				s.at(s.now+lasts, func() {
					for _, o := range s.nodes {
						n.away[o.i], o.away[n.i] = false, false
					}
				})
			case 1: // killed and started
				if n.run%2 == 1 {
					s.kill(n)
					s.at(s.now+lasts/8, func() {
						if n.paused = 0; !n.gone {
							s.start(n)
						}
					})
				}
			default: // stands still
				n.paused = s.now + lasts/time.Duration(1+s.r.IntN(50))
			}
		})
	}
}

// join lets a new node join, of which the others hear one after the other.
func (s *sim) join() {
	n := &simNode{i: len(s.nodes), id: fmt.Sprint("n", len(s.nodes)), tape: &memTape{}, away: make([]bool, len(s.nodes)+2)}
	ids := append(slices.Clone(s.nodes[0].members), n.id)
	n.members = ids
	s.nodes = append(s.nodes, n)
	s.start(n)
	for _, o := range s.nodes {
		s.at(s.now+time.Duration(s.r.IntN(3000))*time.Millisecond, func() { o.members = ids })
	}
}

// leave removes a node that has ended.
func (s *sim) leave(n *simNode) {
	if n.run%2 == 0 {
		return
	}
	s.kill(n)
	n.gone = true
	ids := slices.DeleteFunc(slices.Clone(s.nodes[0].members), func(id string) bool { return id == n.id })
	for _, o := range s.nodes {
		s.at(s.now+time.Duration(s.r.IntN(3000))*time.Millisecond, func() { o.members = ids })
	}
}

// load offers requests at a rate, by share of a hundred, in bursts or evenly.
func (s *sim) load(until time.Duration, perSecond float64, share []int, burst int, cost func() (int64, int64), lasts func() time.Duration) {
	var next func()
	next = func() {
		for range burst {
			at, node := s.r.IntN(100), s.nodes[s.r.IntN(len(s.nodes))]
			for k, p := range share {
				if at -= p; at < 0 {
					node = s.nodes[k%len(s.nodes)]
					break
				}
			}
			c, used := cost()
			s.request(node, c, used, lasts(), 60)
		}
		if t := s.now + time.Duration(s.r.ExpFloat64()*float64(burst)/perSecond*float64(time.Second)); t < until {
			s.at(t, next)
		}
	}
	s.at(s.now, next)
}
