// Package clocks knows of the wall clocks of the nodes, and refuses one that is wrong.
package clocks

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/resource"
)

const (
	// MaxSkew is how far an entry's time may be from the median of the other clocks.
	MaxSkew = 2 * time.Second

	clockSlot = 5 * time.Second // a clock is as it was heard in this slot and the one before
)

// Clocks is what a leader knows of the wall clocks of the nodes. An entry's time is the only
// one that the state machine has, so one that is far from the median of the others' clocks
// stays out of the log.
//
// Clocks are told at different times, so each is kept as its distance from this node's boot
// clock, which nobody sets: two distances compare at any time, also after this node's own
// wall clock was set. What proposes stamps each try anew, so what delays an entry on its way
// is a few milliseconds, and only makes a clock look slow: the largest distance of the last 5
// to 10 s is the truest.
type Clocks struct {
	self string
	now  func() time.Time
	boot clock.Func
	log  *slog.Logger

	mu    sync.Mutex // guards the rest
	heard map[string]*heardClock
	wrong map[string]bool // logged as wrong
}

// heardClock is the clock of a node.
type heardClock struct {
	slot      time.Duration // boot time at which the running slot began
	now, last time.Duration // largest distance in the running slot and the one before
}

// Config says whose clocks are compared.
type Config struct {
	Self   string           // id of this node
	Now    func() time.Time // its wall clock
	Boot   clock.Func
	Logger *slog.Logger
}

// New makes the clocks of a node.
func New(cfg Config) *Clocks {
	return &Clocks{
		self: cfg.Self, now: cfg.Now, boot: cfg.Boot, log: cfg.Logger,
		heard: map[string]*heardClock{}, wrong: map[string]bool{},
	}
}

// Judge notes the clock of a node that proposes an entry now, and returns an error if that is
// too far from the others. The leader's own is judged by at least two others; with fewer,
// the leader is right, because nobody can tell.
func (c *Clocks) Judge(id string, at resource.Time) error {
	c.mu.Lock()
	mine := time.Duration(at) - c.boot()
	if id != c.self {
		c.hearLocked(id, mine)
	}
	off := c.offLocked(id, mine)
	if h := c.heard[id]; h != nil && off < 0 { // it may only have been long on its way
		if best, ok := h.at(c.boot()); ok {
			off = max(off, min(0, c.offLocked(id, best)))
		}
	}
	wrong := off.Abs() > MaxSkew
	changed := wrong != c.wrong[id]
	if wrong {
		c.wrong[id] = true
	} else {
		delete(c.wrong, id)
	}
	c.mu.Unlock()
	switch {
	case changed && wrong:
		c.log.Error("the clock of a node is wrong: its entries are refused", "peer", id, "off", off)
	case changed:
		c.log.Info("the clock of a node is right again", "peer", id)
	}
	if wrong {
		return fmt.Errorf("the clock of node %s is %v off the other nodes'", id, off.Round(time.Millisecond))
	}
	return nil
}

// Own says by how much this node's clock is off the others', 0 if less than two are heard.
func (c *Clocks) Own() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offLocked(c.self, c.distance())
}

// distance is of this node's clock.
func (c *Clocks) distance() time.Duration { return time.Duration(c.now().UnixNano()) - c.boot() }

// Worst is the largest distance of a clock from the others, for the metric.
func (c *Clocks) Worst() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	worst := c.offLocked(c.self, c.distance()).Abs()
	for id, h := range c.heard {
		if d, ok := h.at(c.boot()); ok {
			worst = max(worst, c.offLocked(id, d).Abs())
		}
	}
	return worst
}

// hearLocked notes the distance of a node's clock.
func (c *Clocks) hearLocked(id string, d time.Duration) {
	now := c.boot()
	h := c.heard[id]
	switch {
	case h == nil || now-h.slot >= 2*clockSlot:
		c.heard[id] = &heardClock{slot: now, now: d, last: d}
	case now-h.slot >= clockSlot:
		*h = heardClock{slot: now, now: d, last: h.now}
	default:
		h.now = max(h.now, d)
	}
}

// at is the distance at a boot time; false if the clock was not heard for two slots.
func (h *heardClock) at(now time.Duration) (time.Duration, bool) {
	switch age := now - h.slot; {
	case age >= 2*clockSlot:
		return 0, false
	case age >= clockSlot:
		return h.now, true
	default:
		return max(h.now, h.last), true
	}
}

// offLocked is how far the distance of a node lies outside the two middle ones of the others
// (the median, if their number is odd), 0 if it lies between.
func (c *Clocks) offLocked(id string, d time.Duration) time.Duration {
	now := c.boot()
	var others []time.Duration
	for other, h := range c.heard {
		if o, ok := h.at(now); ok && other != id {
			others = append(others, o)
		}
	}
	switch {
	case id != c.self:
		others = append(others, c.distance())
	case len(others) < 2:
		return 0
	}
	return outside(d, others)
}

// outside is how far a distance lies outside the two middle ones of others, of which there is one at least.
func outside(d time.Duration, others []time.Duration) time.Duration {
	slices.Sort(others)
	low, high := others[(len(others)-1)/2], others[len(others)/2]
	return min(d-low, 0) + max(d-high, 0)
}

// Off says by how much each clock of at least three, told at the same time, is off the others'; of two nobody can
// tell which is right.
func Off(told map[string]time.Time) map[string]time.Duration {
	off := map[string]time.Duration{}
	if len(told) < 3 {
		return off
	}
	for id, at := range told {
		var others []time.Duration
		for other, o := range told {
			if other != id {
				others = append(others, o.Sub(at))
			}
		}
		off[id] = outside(0, others)
	}
	return off
}
