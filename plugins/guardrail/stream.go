package guardrail

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/resource"
)

// maxHeld bounds the bytes of a stream that are held back: a guardrail that holds all of a
// longer answer blocks it.
const maxHeld = 16 << 20

// StreamCheck holds the events of one stream back until all guardrails have passed them. It is
// used by one goroutine. The methods of a nil StreamCheck release what they are given.
type StreamCheck struct {
	set     *Set
	info    Info
	watches []*watch
	held    []heldEvent
	size    int              // bytes of held
	seen    map[string]int64 // bytes of each channel so far
	left    map[string]int64 // bytes of each channel that have left
	edits   edits            // of what has not
	texts   []Part           // of the whole stream, for members that check whole answers
	back    int              // largest hold-back of the watches
	holdAll bool
	done    bool
	d       Decision
}

// watch is one member's view of the stream.
type watch struct {
	m      *Member
	hook   resource.Hook // during, or after for a whole answer at its end
	stream Stream        // of during
	took   time.Duration
	edited bool
	found  []Finding
	acted  bool // it would have changed or ended the stream, if it did not only observe
}

// heldEvent is an event that may not leave yet.
type heldEvent struct {
	raw   []byte
	parts []Part
	ends  []channelEnd // of the parts
}

// channelEnd is where an event's text ends in its channel.
type channelEnd struct {
	channel string
	end     int64
}

// Stream begins the check of a streamed answer. It returns nil if no guardrail checks answers.
// Close must be called.
func (s *Set) Stream(ctx context.Context, info Info) (*StreamCheck, error) {
	if !s.ChecksAnswers() {
		return nil, nil //nolint:nilnil // a nil StreamCheck releases everything
	}
	info.Stream = true
	c := &StreamCheck{set: s, info: info, seen: make(map[string]int64), left: make(map[string]int64), edits: make(edits)}
	for _, m := range s.members {
		hook, ok := m.output(true)
		if !ok {
			continue
		}
		w := &watch{m: m, hook: hook}
		if err := c.open(ctx, w); err != nil {
			c.fail(w, err)
			if d := &c.d; d.Action == Block {
				c.Close()
				return nil, d.Err()
			}
			continue
		}
		c.watches = append(c.watches, w)
	}
	return c, nil
}

func (c *StreamCheck) open(ctx context.Context, w *watch) error {
	live, err := w.m.ready(w.hook)
	if err != nil {
		return err
	}
	if w.hook == resource.HookAfter {
		c.holdAll = true
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, w.m.deadline())
	defer cancel()
	if w.stream, err = live.Backend.OpenStream(ctx, &c.info); err != nil {
		return err
	}
	c.holdAll = c.holdAll || live.Description.HoldAll
	c.back = max(c.back, live.Description.HoldBack)
	return nil
}

// Feed takes the next raw event and returns the events that may be sent now, in order. An error
// ends the stream: nothing that is held may be sent. It is an *llm.Error, as Decision.Err gives.
func (c *StreamCheck) Feed(ctx context.Context, event []byte) ([][]byte, error) {
	if c == nil {
		return [][]byte{event}, nil
	}
	if err := c.d.Err(); err != nil || c.done {
		return nil, err // what comes after the end is not checked any more and does not leave
	}
	parts, done := eventParts(event)
	h := heldEvent{raw: event, parts: parts, ends: make([]channelEnd, len(parts))}
	for i, p := range parts {
		c.seen[p.Channel] += int64(len(p.Text))
		h.ends[i] = channelEnd{p.Channel, c.seen[p.Channel]}
	}
	c.held = append(c.held, h)
	c.size += len(event)
	if done {
		return c.End(ctx)
	}
	if len(parts) > 0 {
		if c.holdAll {
			c.texts = append(c.texts, parts...)
		}
		if err := c.ask(ctx, parts); err != nil {
			return nil, err
		}
	}
	if c.size > maxHeld {
		c.block(c.watches[0].m, errors.New("answer is longer than can be held back"))
		return nil, c.d.Err()
	}
	out, err := c.release(false)
	if err != nil {
		return nil, err
	}
	if n := len(c.held); n > 0 {
		c.held[n-1].raw = bytes.Clone(event) // the caller's bytes are its own again
	}
	return out, nil
}

// End says that the stream is over and returns what was held, or the error of the last check.
func (c *StreamCheck) End(ctx context.Context) ([][]byte, error) {
	if c == nil {
		return nil, nil
	}
	if err := c.d.Err(); err != nil || c.done {
		return nil, err
	}
	c.done = true
	for _, w := range slices.Clone(c.watches) {
		start := time.Now()
		v, err := c.endOf(ctx, w)
		w.took += time.Since(start)
		if err := c.judged(ctx, w, v, err); err != nil {
			return nil, err
		}
		if w.stream != nil {
			w.stream.Close()
		}
	}
	for _, w := range c.watches {
		switch {
		case w.edited:
			c.record(w, StatusRewritten, nil)
		case w.acted || len(w.found) > 0:
			c.record(w, StatusFlagged, nil)
		default:
			c.record(w, StatusPassed, nil)
		}
	}
	c.watches = nil
	return c.release(true)
}

// Finish takes the stream's last event, if it has one that marks its end, and says that the stream is
// over. It returns what was held and, apart from it, the last event as it may be sent.
func (c *StreamCheck) Finish(ctx context.Context, last []byte) (out [][]byte, end []byte, err error) {
	if c == nil {
		return nil, last, nil
	}
	if len(last) > 0 {
		if out, err = c.Feed(ctx, last); err != nil {
			return out, nil, err
		}
	}
	rest, err := c.End(ctx)
	out = append(out, rest...)
	if err != nil || len(last) == 0 || len(out) == 0 {
		return out, nil, err
	}
	return out[:len(out)-1], out[len(out)-1], nil
}

// Close frees what the check holds; the stream need not have ended.
func (c *StreamCheck) Close() {
	if c == nil {
		return
	}
	for _, w := range c.watches {
		if w.stream != nil {
			w.stream.Close()
		}
	}
	c.watches, c.held, c.texts = nil, nil, nil
}

// Results tells what the guardrails made of the stream; it is complete after End or an error.
func (c *StreamCheck) Results() []Result {
	if c == nil {
		return nil
	}
	return c.d.Results
}

// HoldBack tells by how many bytes of text the stream is delayed; all says that it is
// delayed to its end.
func (c *StreamCheck) HoldBack() (bytes int, all bool) {
	if c == nil {
		return 0, false
	}
	return c.back, c.holdAll
}

// ask shows the parts to every watch, one after the other.
func (c *StreamCheck) ask(ctx context.Context, parts []Part) error {
	for _, w := range slices.Clone(c.watches) {
		if w.stream == nil {
			continue
		}
		start := time.Now()
		turn, cancel := context.WithTimeout(ctx, w.m.deadline())
		v, err := w.stream.Chunk(turn, parts)
		cancel()
		w.took += time.Since(start)
		if err := c.judged(ctx, w, v, err); err != nil {
			return err
		}
	}
	return nil
}

func (c *StreamCheck) endOf(ctx context.Context, w *watch) (Verdict, error) {
	turn, cancel := context.WithTimeout(ctx, w.m.deadline())
	defer cancel()
	if w.stream != nil {
		return w.stream.End(turn)
	}
	live, err := w.m.ready(w.hook)
	if err != nil {
		return Verdict{}, err
	}
	texts := joined(c.texts)
	v, err := live.Backend.Check(turn, &Check{Hook: w.hook, Info: c.info, Texts: texts})
	for i := range v.Replacements {
		r := &v.Replacements[i]
		if r.Index < 0 || r.Index >= len(texts) {
			return Verdict{}, fmt.Errorf("plugin: replacement for text %d of %d", r.Index, len(texts))
		}
		r.Channel, r.Start, r.End = texts[r.Index].Path, 0, int64(len(texts[r.Index].Text))
	}
	return v, err
}

// rewrite takes in what a member replaces: everything or, with an error, nothing.
func (c *StreamCheck) rewrite(w *watch, rs []Replacement) error {
	for _, r := range rs {
		if r.Start < c.left[r.Channel] || r.Start >= r.End || r.End > c.seen[r.Channel] {
			return fmt.Errorf("plugin: replacement for bytes %d to %d of %s, of which %d have left and %d have come",
				r.Start, r.End, r.Channel, c.left[r.Channel], c.seen[r.Channel])
		}
	}
	for _, r := range rs {
		c.edits.add(r.Channel, edit{r.Start, r.End, r.Text})
	}
	w.edited = w.edited || len(rs) > 0
	return nil
}

// joined puts the parts of each channel together.
func joined(parts []Part) []Text {
	at := make(map[string]int)
	var bufs [][]byte
	var texts []Text
	for _, p := range parts {
		i, ok := at[p.Channel]
		if !ok {
			i = len(texts)
			at[p.Channel] = i
			texts = append(texts, Text{Path: p.Channel, Role: "assistant"})
			bufs = append(bufs, nil)
		}
		bufs[i] = append(bufs[i], p.Text...)
	}
	for i := range texts {
		texts[i].Text = string(bufs[i])
	}
	return texts
}

// judged acts on one verdict: nil to go on, an error to end the stream.
func (c *StreamCheck) judged(ctx context.Context, w *watch, v Verdict, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	w.found = merged(w.found, v.Findings)
	if err == nil {
		v.Headers = nil // the head of the answer has left
		err = Permits(w.hook, &v, w.m.May, 0)
	}
	if err == nil && w.m.Observe {
		w.acted = w.acted || v.Action != Pass
		return nil
	}
	if err == nil && v.Action == Rewrite && !slices.ContainsFunc(v.Replacements, func(r Replacement) bool { return r.Channel == "" }) {
		err = c.rewrite(w, v.Replacements)
		v.Action = Pass
	}
	switch {
	case err != nil:
		c.fail(w, err)
	case v.Action != Pass: // also a rewrite that does not say where in the stream
		c.d.Action, c.d.Guardrail = Block, w.m.Name
		c.d.Message = cmp.Or(v.Message, fmt.Sprintf("blocked by guardrail %s", w.m.Name))
		c.record(w, StatusBlocked, nil)
		c.drop(w)
	}
	return c.d.Err()
}

// merged adds up findings of the same category; the highest score counts.
func merged(all, more []Finding) []Finding {
	for _, f := range more {
		i := slices.IndexFunc(all, func(o Finding) bool { return o.Category == f.Category })
		switch {
		case i >= 0:
			all[i].Count = max(1, all[i].Count) + max(1, f.Count)
			all[i].Score = max(all[i].Score, f.Score)
		case len(all) < maxFindings:
			all = append(all, f)
		}
	}
	return all
}

// fail is what becomes of the stream when a member could not be asked.
func (c *StreamCheck) fail(w *watch, err error) {
	c.record(w, StatusNotRun, err)
	c.drop(w)
	if w.m.OnError != resource.OnErrorPass && !w.m.Observe {
		c.block(w.m, err)
	}
}

func (c *StreamCheck) block(m *Member, err error) {
	c.d.Action, c.d.Guardrail, c.d.cause = Block, m.Name, err
	c.d.Message = fmt.Sprintf("guardrail %s did not run", m.Name)
}

// drop takes a member out of the stream. The hold-back stays as it was.
func (c *StreamCheck) drop(w *watch) {
	if w.stream != nil {
		w.stream.Close()
	}
	c.watches = slices.DeleteFunc(c.watches, func(o *watch) bool { return o == w })
}

func (c *StreamCheck) record(w *watch, s Status, err error) {
	r := Result{Guardrail: w.m.Name, Hook: w.hook, Status: s, Err: err, Duration: w.took, Findings: w.found}
	c.d.Results = append(c.d.Results, r)
	c.set.metrics.observe(r)
}

// release takes the events out of held that are far enough behind what was checked, as they were
// rewritten. What cannot be rewritten ends the stream.
func (c *StreamCheck) release(all bool) ([][]byte, error) {
	n := 0
	for n < len(c.held) && (all || c.clear(&c.held[n])) {
		n++
	}
	if n == 0 {
		return nil, nil
	}
	out := make([][]byte, n)
	for i := range out {
		h := &c.held[i]
		c.size -= len(h.raw)
		var err error
		if out[i], err = c.edits.rewrite(h.raw, h.parts, h.ends); err != nil {
			c.d.Action, c.d.cause, c.d.Message = Block, err, "an answer that guardrails changed cannot be sent"
			return nil, c.d.Err()
		}
		for _, e := range h.ends {
			c.left[e.channel] = e.end
			c.edits.drop(e.channel, e.end)
		}
	}
	c.held = slices.Delete(c.held, 0, n)
	return out, nil
}

func (c *StreamCheck) clear(h *heldEvent) bool {
	if len(c.watches) == 0 {
		return true // all have failed and may
	}
	if c.holdAll {
		return false
	}
	for _, e := range h.ends {
		if c.seen[e.channel]-e.end < int64(c.back) {
			return false
		}
	}
	return true
}
