// Package disk watches how much room is left where a node keeps its data.
package disk

import (
	"sync"
	"time"

	"github.com/conclave-llm/conclave/internal/clock"
)

const (
	lookEvery  = time.Second
	share      = 20      // the default reserve is a twentieth of the disk,
	maxReserve = 2 << 30 // or so many bytes
)

// Room is how much there is.
type Room struct {
	Free, Size uint64 // bytes; a Size of 0: not known
	Low        bool   // less is free than the reserve
}

// Config says what to watch.
type Config struct {
	Dir     string
	Reserve uint64 // bytes that are to be free; 0: a twentieth of the disk, at most 2 GiB
	Boot    clock.Func
	// Usage looks at a file system. Nil: the system's.
	Usage func(dir string) (free, size uint64, err error)
}

// Guard knows whether there is room. It may be used by several goroutines.
type Guard struct {
	cfg Config

	mu   sync.Mutex // guards next, room
	next time.Duration
	room Room
}

// New returns a guard, which has not looked yet.
func New(cfg Config) *Guard {
	if cfg.Usage == nil {
		cfg.Usage = usage
	}
	if cfg.Boot == nil {
		cfg.Boot = clock.Boot
	}
	return &Guard{cfg: cfg, next: -1}
}

// Room looks once a second. What cannot be found out is not low.
func (g *Guard) Room() Room {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.cfg.Boot()
	if now < g.next {
		return g.room
	}
	g.next = now + lookEvery
	free, size, err := g.cfg.Usage(g.cfg.Dir)
	if err != nil || size == 0 {
		g.room = Room{}
		return g.room
	}
	reserve := g.cfg.Reserve
	if reserve == 0 {
		reserve = min(size/share, maxReserve)
	}
	if g.room.Low {
		reserve += reserve / 8 // so that it does not flap
	}
	g.room = Room{Free: free, Size: size, Low: free < reserve}
	return g.room
}
