package guardrail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// Request is what a Set checks. Body is not changed; of a streamed answer there is none.
type Request struct {
	Info
	Body   []byte
	Asked  []byte // of an answer: the body of its request, for plugins that want it; nil: there is none
	Teller Teller // nil: nothing is known of headers and caller
	Open   Powers // what can be changed of it; a guardrail may do no more, whatever its operator allows

	// Whole makes a whole answer in the client's dialect of the events of a stream, for plugins that want bodies of
	// answers; nil: they get {"events": […]}, the data of the events.
	Whole func(events [][]byte) ([]byte, error)

	// Takes says why an answer, whose form fits the endpoint, cannot be given to this client; nil: all can.
	Takes func(r *Reply) error
}

// Teller tells of a request what plugins may ask for.
type Teller interface {
	// Header returns the first header of the name, which is in lower case; "" for none and for credentials.
	Header(name string) string
	Caller() *Caller
}

// Decision is the outcome of all guardrails of a hook.
type Decision struct {
	Action    Action
	Body      []byte // the request's own, or with what was rewritten
	Message   string // of a block, for the client
	Guardrail string // that blocked or answered
	Results   []Result
	Change    Change   // of all guardrails but for Set and Remove, which Body has
	Headers   []Header // for the client
	Reply     Reply    // of Answer

	status int    // of a block; 0: what its kind says
	code   string // likewise

	cause error  // a guardrail that blocks on error did not run
	param string // of the request, for which it did not
}

// Err returns what the client gets for a block: an *llm.Error of kind Blocked, or, if a guardrail that must
// run did not, Unavailable, or Invalid if that is for the ids of tokens. It is nil if the request may go on.
func (d *Decision) Err() error {
	if d == nil || d.Action != Block {
		return nil
	}
	if errors.Is(d.cause, ErrTokens) {
		return &llm.Error{
			Kind: llm.Invalid, Code: CodeNotRun, Param: d.param, NoRetry: true, Err: d.cause,
			Message: d.Message + ": token ids cannot be checked; send text",
		}
	}
	if d.cause != nil {
		return &llm.Error{
			Kind: llm.Unavailable, Code: CodeNotRun, Message: d.Message, RetryAfter: time.Second, Err: d.cause,
		}
	}
	return &llm.Error{Kind: llm.Blocked, Status: d.status, Code: cmp.Or(d.code, CodeBlocked), Message: d.Message, NoRetry: true}
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
	logOnly []*Member // asked about what is kept
	unknown []string  // requested, but not in the chain
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
	return s.whole(ctx, q, before)
}

func before(m *Member) (resource.Hook, bool) {
	return resource.HookBefore, m.wants(resource.HookBefore)
}

// After asks the guardrails about a whole answer, as Before does about a request.
func (s *Set) After(ctx context.Context, q *Request) (*Decision, error) {
	if s == nil {
		return &Decision{Body: q.Body}, nil
	}
	return s.whole(ctx, q, after)
}

func after(m *Member) (resource.Hook, bool) { return m.output(false) }

// whole runs the members over a whole body; pick says by which hook each is asked.
func (s *Set) whole(ctx context.Context, q *Request, pick func(*Member) (resource.Hook, bool)) (*Decision, error) {
	d := &Decision{Body: q.Body}
	w := work{Request: q, info: q.Info}
	for _, m := range s.members {
		hook, ok := pick(m)
		if !ok {
			continue
		}
		if w.texts == nil {
			var err error
			if w.texts, err = Extract(q.Body); err != nil {
				return nil, &llm.Error{Kind: llm.Invalid, Message: "the body cannot be checked by guardrails", Err: err}
			}
		}
		start := time.Now()
		v, err := m.decide(ctx, hook, &w)
		if err != nil && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		s.note(d, m, hook, v, err, time.Since(start))
		d.param = w.texts.ids
		if err == nil && !m.Observe {
			d.take(&v)
		}
		if d.Action == Block || d.Action == Answer {
			return d, nil
		}
	}
	if d.Action == Rewrite {
		var err error
		if d.Body, err = w.texts.Body(); err != nil {
			return nil, fmt.Errorf("splice body: %w", err)
		}
	}
	return d, nil
}

// work is a body while one member after the other is asked about it.
type work struct {
	*Request
	info  Info
	texts *Texts
}

// decide asks one member about a whole body, and does what it says, as far as it may.
func (m *Member) decide(ctx context.Context, hook resource.Hook, w *work) (Verdict, error) {
	v, err := m.judge(ctx, hook, w)
	if err == nil {
		err = Permits(hook, &v, m.May, w.Open)
	}
	if err == nil && v.Action == Answer {
		err = w.takes(&v)
	}
	if err == nil && !m.Observe {
		err = w.apply(&v)
	}
	return v, err
}

// judge asks one member about a whole body.
func (m *Member) judge(ctx context.Context, hook resource.Hook, w *work) (Verdict, error) {
	live, err := m.ready(hook)
	if err != nil {
		return Verdict{}, err
	}
	if hook == resource.HookBefore && w.texts.ids != "" {
		return Verdict{}, fmt.Errorf("%w: %s", ErrTokens, w.texts.ids)
	}
	ctx, cancel := context.WithTimeout(ctx, m.deadline())
	defer cancel()
	if hook == resource.HookDuring {
		info := w.info
		return judgeAsStream(ctx, live.Backend, &info, w.texts.List())
	}
	c := &Check{Hook: hook, Info: w.info, Texts: w.texts.List()}
	if live.Description.WantsBody {
		if c.Body, err = w.texts.Body(); err != nil {
			return Verdict{}, err
		}
	}
	if c.Request, err = w.asked(hook, &live.Description); err != nil {
		return Verdict{}, err
	}
	m.tell(c, &live.Description, w.Teller)
	return live.Backend.Check(ctx, c)
}

// asked is the texts of the request to whose answer a plugin is asked about, if it wants them.
func (q *Request) asked(hook resource.Hook, d *Description) ([]Text, error) {
	if hook != resource.HookAfter || !d.WantsRequest || len(q.Asked) == 0 {
		return nil, nil
	}
	texts, err := Extract(q.Asked)
	if err != nil {
		return nil, fmt.Errorf("read the request of the answer: %w", err)
	}
	return texts.List(), nil
}

// tell fills in what the plugin asks for and may see of the request.
func (m *Member) tell(c *Check, d *Description, t Teller) {
	if t == nil {
		return
	}
	for _, name := range d.WantsHeaders {
		name = strings.ToLower(name)
		if !slices.Contains(m.Headers, name) || resource.IsCredentialHeader(name) {
			continue
		}
		if v := t.Header(name); v != "" {
			c.Headers = append(c.Headers, Header{name, v})
		}
	}
	if d.WantsCaller {
		c.Caller = t.Caller()
	}
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
func judgeAsStream(ctx context.Context, b Backend, info *Info, texts []Text) (Verdict, error) {
	st, err := b.OpenStream(ctx, info)
	if err != nil {
		return Verdict{}, err
	}
	defer st.Close()
	parts := make([]Part, len(texts))
	for i, t := range texts {
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
	return inTexts(texts, slices.Concat(v.Replacements, last.Replacements), merged(v.Findings, last.Findings))
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

// apply makes a verdict's replacements and changes in the body: everything or, with an error, nothing.
func (w *work) apply(v *Verdict) error {
	if v.Action != Rewrite {
		return nil
	}
	for _, r := range v.Replacements {
		if r.Index < 0 || r.Index >= len(w.texts.List()) {
			return fmt.Errorf("plugin: replacement for text %d of %d", r.Index, len(w.texts.List()))
		}
	}
	had := []byte(nil)
	if v.Change != nil {
		var err error
		if had, err = w.texts.Body(); err != nil {
			return err
		}
	}
	for _, r := range v.Replacements {
		if err := w.texts.Replace(r.Index, r.Text); err != nil {
			return err
		}
	}
	if v.Change == nil {
		return nil
	}
	if err := w.edit(v.Change); err != nil {
		w.texts, _ = Extract(had) // it was made of texts that were extracted
		return fmt.Errorf("plugin: %w", err)
	}
	w.info.Model = cmp.Or(v.Change.Model, w.info.Model)
	return nil
}

// edit sets and removes members of the body.
func (w *work) edit(c *Change) error {
	if len(c.Set) == 0 && len(c.Remove) == 0 {
		return nil
	}
	body, err := w.texts.Body()
	if err != nil {
		return err
	}
	if body, err = editMembers(body, c.Set, c.Remove); err != nil {
		return err
	}
	texts, err := Extract(body)
	if err == nil {
		w.texts = texts
	}
	return err
}

// take keeps what a verdict says beside the body.
func (d *Decision) take(v *Verdict) {
	d.Headers = append(d.Headers, v.Headers...)
	switch v.Action {
	case Block:
		d.status, d.code = v.Status, v.Code
	case Answer:
		d.Reply, _ = v.reply() // takes has looked at it
	case Rewrite:
		if c := v.Change; c != nil {
			d.Change.Model = cmp.Or(c.Model, d.Change.Model)
			if c.ReplaceTags {
				d.Change.Tags, d.Change.ReplaceTags = nil, true
			}
			d.Change.Tags = append(d.Change.Tags, c.Tags...)
		}
	}
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
	case v.Action == Answer:
		r.Status = StatusAnswered
		d.Action, d.Guardrail = Answer, m.Name
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
