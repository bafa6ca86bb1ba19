package guardrail

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/conclave-llm/conclave/resource"
)

// maxCached bounds the sets that a chain keeps by model.
const maxCached = 4096

// Status says what became of one guardrail's check.
type Status string

// The statuses. A guardrail that could not be asked, answered too late or with an error has
// StatusNotRun, whatever on_error then decides: never StatusPassed.
const (
	StatusPassed    Status = "passed"
	StatusFlagged   Status = "flagged" // passed, but something was found, or would have been acted upon
	StatusRewritten Status = "rewritten"
	StatusBlocked   Status = "blocked"
	StatusAnswered  Status = "answered" // in the place of a model
	StatusNotRun    Status = "not_run"
)

// Result tells of one guardrail and one hook of a request. It is safe to log.
type Result struct {
	Guardrail string
	Hook      resource.Hook
	Status    Status
	Err       error // why it did not run
	Duration  time.Duration
	Findings  []Finding
}

// Found says in few words what was found: "email 2, hate 0.91".
func (r *Result) Found() string {
	words := make([]string, len(r.Findings))
	for i, f := range r.Findings {
		words[i] = f.String()
	}
	return strings.Join(words, ", ")
}

// Backend is a configured plugin process, as the chain asks it. *Client is one.
type Backend interface {
	Check(ctx context.Context, q *Check) (Verdict, error)
	OpenStream(ctx context.Context, info *Info) (Stream, error)
}

// Live is a running backend and what it said about itself.
type Live struct {
	Backend     Backend
	Description Description
}

// Member is one configured guardrail. Its fields must not be changed once it is in a chain;
// what runs behind it changes with Set.
type Member struct {
	Name     string
	Hooks    []resource.Hook // empty: all that the plugin declares
	OnError  resource.OnError
	Deadline time.Duration // of each check and each chunk; 0: a second
	Models   []string      // empty: all; "prefix*" as in keys
	Optional bool          // asked only if the request names it
	Observe  bool          // what it decides is recorded and not done
	LogOnly  bool          // asked about what is kept, not about what is served
	Forced   bool          // no holder switches it off
	May      Powers        // beyond judging texts and rewriting them
	Headers  []string      // of requests, in lower case, that the plugin may see

	live  atomic.Pointer[Live]        // nil: not running
	known atomic.Pointer[Description] // of the last one that ran
}

// Set puts a running plugin behind the member, or nil when it has stopped.
func (m *Member) Set(l *Live) {
	if l != nil {
		m.known.Store(&l.Description)
	}
	m.live.Store(l)
}

// Inherit takes over what a member before it knew of its plugin; nil knew nothing.
func (m *Member) Inherit(before *Member) {
	if before != nil {
		m.known.Store(before.known.Load())
	}
}

// Live returns what runs behind the member, nil if nothing does.
func (m *Member) Live() *Live { return m.live.Load() }

// wants says whether the member is asked at the hook. What is not known yet counts as wanted,
// so that a guardrail that has never run is not_run and not absent; at the hooks of errors and
// records only if it may do something there.
func (m *Member) wants(h resource.Hook) bool {
	if len(m.Hooks) > 0 {
		return slices.Contains(m.Hooks, h)
	}
	d := m.known.Load()
	switch {
	case d != nil:
		return slices.Contains(d.Hooks, h)
	case h == resource.HookFailure:
		return m.May&MayError != 0
	case h == resource.HookLogging:
		return m.May&MayRecord != 0
	}
	return true
}

// output is how an answer is checked: by the hook that fits its form, else by the other one.
// A guardrail of answers can therefore not be avoided by asking for a stream, or for none.
func (m *Member) output(stream bool) (resource.Hook, bool) {
	first, second := resource.HookAfter, resource.HookDuring
	if stream {
		first, second = second, first
	}
	switch {
	case m.wants(first):
		return first, true
	case m.wants(second):
		return second, true
	}
	return "", false
}

func (m *Member) deadline() time.Duration { return cmp.Or(m.Deadline, time.Second) }

// Chain is the guardrails of the cluster. The zero value has none. For is safe for
// concurrent use with Replace.
type Chain struct {
	table   atomic.Pointer[table]
	current *Current
	metrics *Metrics
}

// Choice is what a request and its holders say about its guardrails. The zero value is those that
// apply to every request for the model.
type Choice struct {
	Asked     []string // beside those that always apply; one that there is not is an error of the request
	On        []string // likewise, and no error
	Off       []string // not asked, but for those that are forced
	NoDefault bool     // of those that always apply only the forced ones
}

func (c *Choice) isZero() bool {
	return len(c.Asked) == 0 && len(c.On) == 0 && len(c.Off) == 0 && !c.NoDefault
}

// takes says whether a request for the model with the choice gets the member.
func (c *Choice) takes(m *Member, model string) bool {
	if !resource.AllowsModel(m.Models, model) {
		return false
	}
	switch {
	case m.Forced:
		return true
	case slices.Contains(c.Off, m.Name):
		return false
	case slices.Contains(c.Asked, m.Name), slices.Contains(c.On, m.Name):
		return true
	}
	return !m.Optional && !c.NoDefault
}

// table is one immutable list of members and the sets made from it.
type table struct {
	members []*Member // by name
	failure bool      // one of them may be asked about errors
	logging []*Member // those that may be asked about records
	sets    sync.Map  // model → *Set, for requests that name no guardrail
	cached  atomic.Int64
}

// NewChain makes an empty chain; c says whether it is as it should be, nil: it always is. m may be nil.
func NewChain(c *Current, m *Metrics) *Chain {
	if c == nil {
		c = new(Current)
	}
	return &Chain{current: c, metrics: m}
}

// Forget drops what was counted of a guardrail that is no more.
func (c *Chain) Forget(name string) { c.metrics.forget(name) }

// Wait returns when the members are those that all changes have made, mostly at once. It returns an *llm.Error
// after some seconds in which they are not, or when ctx ends.
func (c *Chain) Wait(ctx context.Context) error { return c.current.Wait(ctx) }

// Replace puts the members in place of those before. Requests under way keep theirs.
func (c *Chain) Replace(members []*Member) {
	if len(members) == 0 {
		c.table.Store(nil)
		return
	}
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b *Member) int { return strings.Compare(a.Name, b.Name) })
	t := &table{members: members}
	for _, m := range members {
		if m.LogOnly {
			continue
		}
		t.failure = t.failure || m.May&MayError != 0
		if m.May&MayRecord != 0 {
			t.logging = append(t.logging, m)
		}
	}
	c.table.Store(t)
}

// For returns the guardrails of a request for the model with the choice, or nil if there are none.
// All methods of a nil Set do nothing, at no cost.
func (c *Chain) For(model string, choice Choice) *Set {
	t := c.table.Load()
	if t == nil {
		if len(choice.Asked) == 0 {
			return nil
		}
		return &Set{unknown: choice.Asked, metrics: c.metrics}
	}
	if !choice.isZero() {
		return c.build(t, model, &choice)
	}
	if s, ok := t.sets.Load(model); ok {
		return s.(*Set)
	}
	s := c.build(t, model, &choice)
	if t.cached.Add(1) <= maxCached {
		t.sets.Store(model, s)
	}
	return s
}

// Failures says whether a guardrail may be asked about errors.
func (c *Chain) Failures() bool {
	t := c.table.Load()
	return t != nil && t.failure
}

// Only returns a set of the one guardrail with the name, whether requests get it or not; false if
// there is none.
func (c *Chain) Only(name string) (*Set, bool) {
	t := c.table.Load()
	if t == nil {
		return nil, false
	}
	i := slices.IndexFunc(t.members, func(m *Member) bool { return m.Name == name })
	if i < 0 {
		return nil, false
	}
	return &Set{members: t.members[i : i+1], metrics: c.metrics}, true
}

// Wants says whether one of the guardrails is asked at the hook.
func (s *Set) Wants(h resource.Hook) bool {
	return s != nil && slices.ContainsFunc(s.members, func(m *Member) bool { return m.wants(h) })
}

func (c *Chain) build(t *table, model string, choice *Choice) *Set {
	s := &Set{metrics: c.metrics}
	for _, m := range t.members {
		switch {
		case !choice.takes(m, model):
		case m.LogOnly:
			s.logOnly = append(s.logOnly, m)
		default:
			s.members = append(s.members, m)
		}
	}
	for _, name := range choice.Asked {
		if !slices.ContainsFunc(t.members, func(m *Member) bool { return m.Name == name }) {
			s.unknown = append(s.unknown, name)
		}
	}
	if len(s.members) == 0 && len(s.unknown) == 0 && len(s.logOnly) == 0 {
		return nil
	}
	return s
}
