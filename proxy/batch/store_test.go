package batch_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/resource"
)

// shelf is a store in memory. It checks what the state machine would.
type shelf struct {
	mu     sync.Mutex
	recs   map[string]*resource.Artifact
	vers   map[string]uint64
	bodies map[string][]byte
	last   uint64
	now    func() time.Time
	before func(a *resource.Artifact) error // each Put
	after  func(a *resource.Artifact)       // each Put that was taken, outside of the lock
}

func newShelf() *shelf {
	return &shelf{recs: map[string]*resource.Artifact{}, vers: map[string]uint64{}, bodies: map[string][]byte{}, now: time.Now}
}

func (s *shelf) Put(_ context.Context, a *resource.Artifact, read uint64, bodies ...[]byte) (uint64, error) {
	version, err := s.put(a, read, bodies)
	if err == nil && s.after != nil {
		s.after(a)
	}
	return version, err
}

func (s *shelf) put(a *resource.Artifact, read uint64, bodies [][]byte) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.before != nil {
		if err := s.before(a); err != nil {
			return 0, err
		}
	}
	if err := a.Validate(); err != nil {
		return 0, err
	}
	_, ok := s.recs[a.ID]
	switch {
	case read == 0 && ok:
		return 0, resource.ErrExists
	case read != 0 && !ok:
		return 0, resource.ErrNotFound
	case s.vers[a.ID] != read:
		return 0, resource.ErrConflict
	}
	for _, b := range bodies {
		s.bodies[resource.PartOf(b, 0).Blob] = append([]byte{}, b...)
	}
	for _, p := range a.Parts() {
		if _, ok := s.bodies[p.Blob]; !ok {
			return 0, fmt.Errorf("part %s: %w", p.Blob, resource.ErrNotFound)
		}
	}
	s.last++
	s.recs[a.ID], s.vers[a.ID] = a, s.last
	return s.last, nil
}

func (s *shelf) Get(_ context.Context, id string) (*resource.Artifact, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.recs[id]
	if !ok {
		return nil, 0, resource.ErrNotFound
	}
	return a, s.vers[id], nil
}

func (s *shelf) Body(_ context.Context, digest string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.bodies[digest]
	if !ok {
		return nil, errors.New("no such blob")
	}
	return b, nil
}

func (s *shelf) List(_ context.Context, match func(*resource.Artifact) bool) (all []*resource.Artifact, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.recs {
		if match(a) {
			all = append(all, a)
		}
	}
	return all, nil
}

func (s *shelf) Delete(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.recs[id]; !ok {
		return resource.ErrNotFound
	}
	delete(s.recs, id)
	delete(s.vers, id)
	return nil
}
