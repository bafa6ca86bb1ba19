package session

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Pool holds the processes that serve one name: each question goes to the one with the fewest under
// way, and to the others in turn while those that had it are dead. The zero value is empty. It may be
// used concurrently.
type Pool[C comparable] struct {
	live atomic.Pointer[[]*member[C]]
	turn atomic.Uint32 // which of equals comes first

	mu sync.Mutex // guards what follows
	of map[int]*member[C]
}

// member is one process.
type member[C any] struct {
	c    C
	busy atomic.Int64
}

// Set puts a process in its place.
func (p *Pool[C]) Set(instance int, c C) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of == nil {
		p.of = make(map[int]*member[C])
	}
	p.of[instance] = &member[C]{c: c}
	p.publishLocked()
}

// Drop takes a process out of its place, if it is still there, and says whether the pool is empty now.
func (p *Pool[C]) Drop(instance int, c C) (empty bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.of[instance]; m != nil && m.c == c {
		delete(p.of, instance)
		p.publishLocked()
	}
	return len(p.of) == 0
}

func (p *Pool[C]) publishLocked() {
	all := make([]*member[C], 0, len(p.of))
	for _, i := range slices.Sorted(maps.Keys(p.of)) {
		all = append(all, p.of[i])
	}
	p.live.Store(&all)
}

// Running says whether there is a process.
func (p *Pool[C]) Running() bool {
	all := p.live.Load()
	return all != nil && len(*all) > 0
}

// Each asks one process after the other, until one has answered that is not dead. Without any it
// returns ErrNotRunning.
func (p *Pool[C]) Each(ask func(C) error) error {
	release, err := p.Hold(ask)
	if err == nil {
		release()
	}
	return err
}

// Hold is Each of a question whose answer goes on: the process that began it counts as busy until
// release is called, once. With an error there is nothing to release.
func (p *Pool[C]) Hold(ask func(C) error) (release func(), err error) {
	all := p.live.Load()
	if all == nil || len(*all) == 0 {
		return nil, ErrNotRunning
	}
	if len(*all) == 1 {
		return func() {}, ask((*all)[0].c)
	}
	var dead []*member[C]
	err = ErrNotRunning
	for m := p.take(*all, nil); m != nil; m = p.take(*all, dead) {
		m.busy.Add(1)
		if err = ask(m.c); err == nil {
			return func() { m.busy.Add(-1) }, nil
		}
		m.busy.Add(-1)
		if !errors.Is(err, ErrNotRunning) {
			return nil, err
		}
		dead = append(dead, m)
	}
	return nil, err
}

// take picks the process with the fewest under way of those that have not failed; nil: none.
func (p *Pool[C]) take(all, failed []*member[C]) *member[C] {
	var best *member[C]
	start := int(p.turn.Add(1) & 0xffff)
	for i := range all {
		m := all[(start+i)%len(all)]
		if !slices.Contains(failed, m) && (best == nil || m.busy.Load() < best.busy.Load()) {
			best = m
		}
	}
	return best
}
