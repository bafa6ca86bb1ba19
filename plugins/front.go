package plugins

import (
	"maps"
	"slices"
	"sync"

	"github.com/conclave-llm/conclave/plugins/guardrail"
)

// front is one guardrail as the chain asks it: its member, and the processes behind it.
type front struct {
	id string // of the record

	mu     sync.Mutex // guards what follows
	spec   Spec
	member *guardrail.Member
	live   map[int]*guardrail.Live // by instance; what does not run is not in it
}

func newFront(s *Spec) *front {
	return &front{id: s.ID, spec: *s, member: newMember(s, nil), live: make(map[int]*guardrail.Live)}
}

// update follows the spec: a guardrail that is asked at other moments is another member.
func (f *front) update(s *Spec) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.spec.sameMember(s) {
		f.member = newMember(s, f.member)
		f.publishLocked()
	}
	f.spec = *s
}

// set puts a process in its place, or takes it away (nil).
func (f *front) set(instance int, l *guardrail.Live) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l == nil {
		delete(f.live, instance)
	} else {
		f.live[instance] = l
	}
	f.publishLocked()
}

// publishLocked puts the processes behind the member.
func (f *front) publishLocked() {
	lives := make([]*guardrail.Live, 0, len(f.live))
	for _, i := range slices.Sorted(maps.Keys(f.live)) {
		lives = append(lives, f.live[i])
	}
	f.member.Set(guardrail.Pool(lives))
}

// current returns the chain's member.
func (f *front) current() *guardrail.Member {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.member
}

// newMember makes the chain's member for the spec; it knows what the one before it knew.
func newMember(s *Spec, before *guardrail.Member) *guardrail.Member {
	m := &guardrail.Member{
		Name: s.Name, Hooks: s.Hooks, OnError: s.OnError, Deadline: s.Deadline, Models: s.Models, Optional: s.Optional, Observe: s.Observe,
		LogOnly: s.LogOnly, Forced: s.Forced, May: s.May, Headers: s.Headers,
	}
	m.Inherit(before)
	return m
}
