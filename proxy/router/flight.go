package router

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/conclave-llm/conclave/llm"
)

// Outcome is how an attempt ended.
type Outcome struct {
	OK         bool          // the deployment answered
	Kind       llm.Kind      // of the error, unless OK
	Status     int           // of the provider's answer, 0 if there was none; it goes before Kind
	Tokens     int64         // of the completion
	RetryAfter time.Duration // that the provider asked for
	Elapsed    time.Duration // of the whole attempt
}

// Flight is one request in flight on one deployment. The holder calls End when the attempt
// is over, in a defer: until then the request counts. The zero Flight does nothing.
//
// A Flight is a handle: a pooled slot and the generation at which the slot was handed out.
// A second End, or one after the slot went to another request, finds another generation and
// does nothing.
type Flight struct {
	slot *slot
	gen  uint64
}

// slot is what a Flight points at.
type slot struct {
	gen   atomic.Uint64
	stats *Stats
	gauge *gauge
	begun int64        // Unix nanoseconds
	first atomic.Int64 // nanoseconds to the first token, 0 until it came
}

var slots = sync.Pool{New: func() any { return new(slot) }}

func (s *Stats) begin(id string) Flight {
	g := s.gauge(id)
	f := slots.Get().(*slot)
	f.stats, f.gauge, f.begun = s, g, s.now().UnixNano()
	f.first.Store(0)
	g.inFlight.Add(1)
	g.used.Store(f.begun)
	return Flight{slot: f, gen: f.gen.Load()}
}

// FirstToken notes the time from sending the request to the first token of the answer. It
// must not be called concurrently with End.
func (f Flight) FirstToken(d time.Duration) {
	if f.slot == nil || f.slot.gen.Load() != f.gen {
		return
	}
	f.slot.first.Store(int64(max(d, 1)))
	f.slot.gauge.breaker.alive(f.slot.stats.now().UnixNano(), f.slot.begun)
}

// End takes the request out of flight and learns from its outcome. Only the first call
// counts; concurrent calls are allowed.
func (f Flight) End(o Outcome) {
	s := f.slot
	if s == nil || !s.gen.CompareAndSwap(f.gen, f.gen+1) {
		return
	}
	stats, g, begun, first := s.stats, s.gauge, s.begun, time.Duration(s.first.Load())
	s.stats, s.gauge = nil, nil
	slots.Put(s)
	g.inFlight.Add(-1)
	stats.learn(g, begun, first, o)
}

// learn folds an outcome into the averages and the breaker of a deployment.
func (s *Stats) learn(g *gauge, begun int64, first time.Duration, o Outcome) {
	now := s.now().UnixNano()
	v := verdictOf(o)
	switch {
	case o.OK:
		if first == 0 {
			first = o.Elapsed // a whole answer has no earlier first token
		}
		g.ttft.add(first.Seconds(), now)
		if rest := o.Elapsed - first; o.Tokens > 1 && rest > 0 {
			g.tps.add(float64(o.Tokens-1)/rest.Seconds(), now)
		}
		g.errors.add(0, now)
	case v == failed && o.Kind == llm.Timeout:
		g.ttft.add(o.Elapsed.Seconds(), now) // it took at least that long
		g.errors.add(1, now)
	case v == answered:
		g.errors.add(0, now)
	case v != neutral:
		g.errors.add(1, now)
	}
	g.breaker.record(now, begun, v, o.RetryAfter, s.cooldown)
}
