package guardrail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/conclave-llm/conclave/llm"
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
// so that a guardrail that has never run is not_run and not absent.
func (m *Member) wants(h resource.Hook) bool {
	if len(m.Hooks) > 0 {
		return slices.Contains(m.Hooks, h)
	}
	d := m.known.Load()
	return d == nil || slices.Contains(d.Hooks, h)
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

// table is one immutable list of members and the sets made from it.
type table struct {
	members []*Member // by name
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
	c.table.Store(&table{members: members})
}

// For returns the guardrails of a request for the model that asks for the requested ones
// beside those that always apply, or nil if there are none. All methods of a nil Set do
// nothing, at no cost.
func (c *Chain) For(model string, requested []string) *Set {
	t := c.table.Load()
	if t == nil {
		if len(requested) == 0 {
			return nil
		}
		return &Set{unknown: requested, metrics: c.metrics}
	}
	if len(requested) > 0 {
		return c.build(t, model, requested)
	}
	if s, ok := t.sets.Load(model); ok {
		return s.(*Set)
	}
	s := c.build(t, model, nil)
	if t.cached.Add(1) <= maxCached {
		t.sets.Store(model, s)
	}
	return s
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

func (c *Chain) build(t *table, model string, requested []string) *Set {
	s := &Set{metrics: c.metrics}
	for _, m := range t.members {
		if (!m.Optional || slices.Contains(requested, m.Name)) && resource.AllowsModel(m.Models, model) {
			s.members = append(s.members, m)
		}
	}
	for _, name := range requested {
		if !slices.ContainsFunc(t.members, func(m *Member) bool { return m.Name == name }) {
			s.unknown = append(s.unknown, name)
		}
	}
	if len(s.members) == 0 && len(s.unknown) == 0 {
		return nil
	}
	return s
}

// Request is what a Set checks. Body is not changed.
type Request struct {
	Info
	Body []byte
}

// Decision is the outcome of all guardrails of a hook.
type Decision struct {
	Action    Action
	Body      []byte // the request's own, or with what was rewritten
	Message   string // of a block, for the client
	Guardrail string // that blocked
	Results   []Result

	cause error // a guardrail that blocks on error did not run
}

// Err returns what the client gets for a block: an *llm.Error of kind Blocked, or Unavailable if
// a guardrail that must run did not. It is nil if the request may go on.
func (d *Decision) Err() error {
	if d == nil || d.Action != Block {
		return nil
	}
	if d.cause != nil {
		return &llm.Error{
			Kind: llm.Unavailable, Code: CodeNotRun, Message: d.Message, RetryAfter: time.Second, Err: d.cause,
		}
	}
	return &llm.Error{Kind: llm.Blocked, Code: CodeBlocked, Message: d.Message, NoRetry: true}
}

// The codes of refusals.
const (
	CodeBlocked  = "guardrail_blocked"
	CodeNotRun   = "guardrail_not_run"
	CodeNotFound = "guardrail_not_found"
)

// Set is the guardrails of one kind of request. It is immutable and shared.
type Set struct {
	members []*Member
	unknown []string // requested, but not in the chain
	metrics *Metrics
}

// Names lists the guardrails of the set by name.
func (s *Set) Names() []string {
	if s == nil {
		return nil
	}
	names := make([]string, len(s.members))
	for i, m := range s.members {
		names[i] = m.Name
	}
	return names
}

// ChecksAnswers says whether the answer must go through After or Stream.
func (s *Set) ChecksAnswers() bool {
	return s != nil && slices.ContainsFunc(s.members, func(m *Member) bool {
		_, ok := m.output(false)
		return ok
	})
}

// Before asks the guardrails about a request, in the order of their names; each sees what
// those before it have rewritten. The error is an *llm.Error of kind Invalid for a body that
// cannot be checked or a requested guardrail that does not exist, or the context's.
func (s *Set) Before(ctx context.Context, q *Request) (*Decision, error) {
	if s == nil {
		return &Decision{Body: q.Body}, nil
	}
	if len(s.unknown) > 0 {
		return nil, &llm.Error{
			Kind: llm.Invalid, Code: CodeNotFound, Param: "guardrails",
			Message: fmt.Sprintf("guardrail %q does not exist", s.unknown[0]),
		}
	}
	return s.whole(ctx, q, func(m *Member) (resource.Hook, bool) {
		return resource.HookBefore, m.wants(resource.HookBefore)
	})
}

// After asks the guardrails about a whole answer, as Before does about a request.
func (s *Set) After(ctx context.Context, q *Request) (*Decision, error) {
	if s == nil {
		return &Decision{Body: q.Body}, nil
	}
	return s.whole(ctx, q, func(m *Member) (resource.Hook, bool) { return m.output(false) })
}

// whole runs the members over a whole body; pick says by which hook each is asked.
func (s *Set) whole(ctx context.Context, q *Request, pick func(*Member) (resource.Hook, bool)) (*Decision, error) {
	d := &Decision{Body: q.Body}
	var texts *Texts
	for _, m := range s.members {
		hook, ok := pick(m)
		if !ok {
			continue
		}
		if texts == nil {
			var err error
			if texts, err = Extract(q.Body); err != nil {
				return nil, &llm.Error{Kind: llm.Invalid, Message: "the body cannot be checked by guardrails", Err: err}
			}
		}
		start := time.Now()
		v, err := m.judge(ctx, hook, q, texts)
		if err == nil && !m.Observe {
			err = apply(texts, v)
		}
		if err != nil && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		s.note(d, m, hook, v, err, time.Since(start))
		if d.Action == Block {
			return d, nil
		}
	}
	if d.Action == Rewrite {
		var err error
		if d.Body, err = texts.Body(); err != nil {
			return nil, fmt.Errorf("splice body: %w", err)
		}
	}
	return d, nil
}

// judge asks one member about a whole body.
func (m *Member) judge(ctx context.Context, hook resource.Hook, q *Request, texts *Texts) (Verdict, error) {
	live, err := m.ready(hook)
	if err != nil {
		return Verdict{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, m.deadline())
	defer cancel()
	if hook == resource.HookDuring {
		return judgeAsStream(ctx, live.Backend, &q.Info, texts)
	}
	c := &Check{Hook: hook, Info: q.Info, Texts: texts.List()}
	if live.Description.WantsBody {
		if c.Body, err = texts.Body(); err != nil {
			return Verdict{}, err
		}
	}
	return live.Backend.Check(ctx, c)
}

// ready returns the live plugin if it can be asked at the hook.
func (m *Member) ready(hook resource.Hook) (*Live, error) {
	live := m.live.Load()
	if live == nil {
		return nil, ErrNotRunning
	}
	if !slices.Contains(live.Description.Hooks, hook) {
		return nil, fmt.Errorf("plugin does not have the hook %s, only %s", hook, hookNames(live.Description.Hooks))
	}
	return live, nil
}

// judgeAsStream checks a whole answer by a plugin that only checks streams.
func judgeAsStream(ctx context.Context, b Backend, info *Info, texts *Texts) (Verdict, error) {
	st, err := b.OpenStream(ctx, info)
	if err != nil {
		return Verdict{}, err
	}
	defer st.Close()
	parts := make([]Part, len(texts.List()))
	for i, t := range texts.List() {
		parts[i] = Part{Channel: t.Path, Text: t.Text}
	}
	v, err := st.Chunk(ctx, parts)
	if err != nil || v.Action == Block {
		return v, err
	}
	last, err := st.End(ctx)
	if err != nil || last.Action == Block {
		return last, err
	}
	return inTexts(texts.List(), slices.Concat(v.Replacements, last.Replacements), merged(v.Findings, last.Findings))
}

// inTexts makes replacements in channels those of whole texts.
func inTexts(texts []Text, rs []Replacement, found []Finding) (Verdict, error) {
	if len(rs) == 0 {
		return Verdict{Findings: found}, nil
	}
	all := make(edits)
	for _, r := range rs {
		if r.Channel == "" {
			return Verdict{Action: Block, Findings: found}, nil // it does not say where
		}
		if r.Start < 0 || r.Start >= r.End {
			return Verdict{}, fmt.Errorf("plugin: replacement for bytes %d to %d of %s", r.Start, r.End, r.Channel)
		}
		all.add(r.Channel, edit{r.Start, r.End, r.Text})
	}
	out := Verdict{Action: Rewrite, Findings: found}
	at := make(map[string]int64)
	for i, t := range texts {
		if text, ok := all.splice(t.Path, at[t.Path], t.Text); ok {
			out.Replacements = append(out.Replacements, Replacement{Index: i, Text: text})
		}
		at[t.Path] += int64(len(t.Text))
	}
	return out, nil
}

// apply replaces in the texts what a verdict rewrites: everything or, with an error, nothing.
func apply(texts *Texts, v Verdict) error {
	if v.Action != Rewrite {
		return nil
	}
	for _, r := range v.Replacements {
		if r.Index < 0 || r.Index >= len(texts.List()) {
			return fmt.Errorf("plugin: replacement for text %d of %d", r.Index, len(texts.List()))
		}
	}
	for _, r := range v.Replacements {
		if err := texts.Replace(r.Index, r.Text); err != nil {
			return err
		}
	}
	return nil
}

// note adds one member's outcome to the decision.
func (s *Set) note(d *Decision, m *Member, hook resource.Hook, v Verdict, err error, took time.Duration) {
	r := Result{Guardrail: m.Name, Hook: hook, Status: StatusPassed, Err: err, Duration: took, Findings: v.Findings}
	switch {
	case err != nil:
		r.Status = StatusNotRun
		if m.OnError != resource.OnErrorPass && !m.Observe {
			d.Action, d.Guardrail, d.cause = Block, m.Name, err
			d.Message = fmt.Sprintf("guardrail %s did not run", m.Name)
		}
	case m.Observe && v.Action != Pass:
		r.Status = StatusFlagged
	case v.Action == Block:
		r.Status = StatusBlocked
		d.Action, d.Guardrail = Block, m.Name
		d.Message = cmp.Or(v.Message, fmt.Sprintf("blocked by guardrail %s", m.Name))
	case v.Action == Rewrite:
		r.Status = StatusRewritten
		d.Action = Rewrite
	case len(v.Findings) > 0:
		r.Status = StatusFlagged
	}
	d.Results = append(d.Results, r)
	s.metrics.observe(r)
}

// IsBlocked says whether err is the refusal of a guardrail.
func IsBlocked(err error) bool {
	var e *llm.Error
	return errors.As(err, &e) && e.Kind == llm.Blocked
}
