// Package filestest is a store of artifacts in memory, for tests of those who use one.
package filestest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/conclave-llm/conclave/resource"
)

// Store is a store in memory. It checks what the state machine would. Several goroutines may use it.
type Store struct {
	mu     sync.Mutex // guards all but the functions
	recs   map[string]*resource.Artifact
	vers   map[string]uint64
	bodies map[string][]byte
	last   uint64
	Before func(a *resource.Artifact) error // each Put, which it may refuse
	After  func(a *resource.Artifact)       // each Put that was taken
}

// New makes an empty Store.
func New() *Store {
	return &Store{recs: map[string]*resource.Artifact{}, vers: map[string]uint64{}, bodies: map[string][]byte{}}
}

// Put implements files.Store.
func (s *Store) Put(_ context.Context, a *resource.Artifact, read uint64, bodies ...[]byte) (uint64, error) {
	version, err := s.put(a, read, bodies)
	if err == nil && s.After != nil {
		s.After(a)
	}
	return version, err
}

func (s *Store) put(a *resource.Artifact, read uint64, bodies [][]byte) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Before != nil {
		if err := s.Before(a); err != nil {
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

// Get implements files.Store.
func (s *Store) Get(_ context.Context, id string) (*resource.Artifact, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.recs[id]
	if !ok {
		return nil, 0, resource.ErrNotFound
	}
	return a, s.vers[id], nil
}

// Body implements files.Store.
func (s *Store) Body(_ context.Context, digest string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.bodies[digest]
	if !ok {
		return nil, errors.New("no such blob")
	}
	return b, nil
}

// List implements files.Store.
func (s *Store) List(_ context.Context, match func(*resource.Artifact) bool) (all []*resource.Artifact, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.recs {
		if match(a) {
			all = append(all, a)
		}
	}
	return all, nil
}

// Delete implements files.Store.
func (s *Store) Delete(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.recs[id]; !ok {
		return resource.ErrNotFound
	}
	delete(s.recs, id)
	delete(s.vers, id)
	return nil
}

// All are the artifacts that are there.
func (s *Store) All() (all []*resource.Artifact) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.recs {
		all = append(all, a)
	}
	return all
}
