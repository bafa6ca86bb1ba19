package session

import "sync"

// Pools are pools by the names that their processes serve. The zero value has none. They may be used concurrently.
type Pools[C comparable] struct {
	mu    sync.RWMutex // guards named
	named map[string]*Pool[C]
}

// Set says that a process serves the name from now on.
func (ps *Pools[C]) Set(name string, instance int, c C) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.named[name]
	if p == nil {
		p = &Pool[C]{}
		if ps.named == nil {
			ps.named = make(map[string]*Pool[C])
		}
		ps.named[name] = p
	}
	p.Set(instance, c)
}

// Drop says that the process does not serve it any more.
func (ps *Pools[C]) Drop(name string, instance int, c C) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if p := ps.named[name]; p != nil && p.Drop(instance, c) {
		delete(ps.named, name)
	}
}

// Of is the pool of a name, nil if no process serves it.
func (ps *Pools[C]) Of(name string) *Pool[C] {
	ps.mu.RLock()
	defer ps.mu.RUnlock()
	return ps.named[name]
}
