// Package disk watches how much room is left where a node keeps its data and its journal.
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

// Room is how much there is, where there is least.
type Room struct {
	Free, Size uint64 // bytes; a Size of 0: not known
	Low        bool   // less is free than the reserve
}

// Config says what to watch.
type Config struct {
	Dirs    []string // each may be on a disk of its own
	Reserve uint64   // bytes that are to be free on each; 0: a twentieth of the disk, at most 2 GiB
	Boot    clock.Func
	// Usage looks at a file system. Nil: the system's.
	Usage func(dir string) (free, size uint64, err error)
}

// Guard knows whether there is room. It may be used by several goroutines.
type Guard struct {
	cfg Config

	mu    sync.Mutex // guards what follows
	next  time.Duration
	rooms []Room // of each folder
}

// New returns a guard, which has not looked yet.
func New(cfg Config) *Guard {
	if cfg.Usage == nil {
		cfg.Usage = usage
	}
	if cfg.Boot == nil {
		cfg.Boot = clock.Boot
	}
	return &Guard{cfg: cfg, next: -1, rooms: make([]Room, len(cfg.Dirs))}
}

// Room looks once a second, and tells of the disk that is low, or else has the least room. What cannot be found out is not low.
func (g *Guard) Room() Room {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := g.cfg.Boot(); now >= g.next {
		g.next = now + lookEvery
		for i, dir := range g.cfg.Dirs {
			g.rooms[i] = g.look(dir, g.rooms[i])
		}
	}
	var least Room
	for _, r := range g.rooms {
		if least.Size == 0 || r.Low && !least.Low || r.Low == least.Low && r.Size != 0 && r.Free < least.Free {
			least = r
		}
	}
	return least
}

// look is how much room a folder has, which had another a second ago.
func (g *Guard) look(dir string, before Room) Room {
	free, size, err := g.cfg.Usage(dir)
	if err != nil || size == 0 {
		return Room{}
	}
	reserve := g.cfg.Reserve
	if reserve == 0 {
		reserve = min(size/share, maxReserve)
	}
	if before.Low {
		reserve += reserve / 8 // so that it does not flap
	}
	return Room{Free: free, Size: size, Low: free < reserve}
}
