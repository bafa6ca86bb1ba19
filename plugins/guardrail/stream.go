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

var errTooLong = errors.New("answer is longer than can be held back")

// StreamCheck holds the events of one stream back until all guardrails have passed them. It is
// used by one goroutine. The methods of a nil StreamCheck release what they are given.
type StreamCheck struct {
	set     *Set
	of      Request // Stream is true
	watches []*watch
	held    []heldEvent
	size    int              // bytes of held
	events  int              // that have come
	seen    map[string]int64 // bytes of each channel so far
	left    map[string]int64 // bytes of each channel that have left
	edits   edits            // of what has not
	changed bool             // a member that checks whole answers has rewritten this one
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
	whole  []Text        // the whole answer as it was shown to the member; nil: it was not
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

// Stream begins the check of a streamed answer, to the request that q tells of. It returns nil if no guardrail
// checks answers. Close must be called.
func (s *Set) Stream(ctx context.Context, q *Request) (*StreamCheck, error) {
	if !s.ChecksAnswers() {
		return nil, nil //nolint:nilnil // a nil StreamCheck releases everything
	}
	c := &StreamCheck{set: s, of: *q, seen: make(map[string]int64), left: make(map[string]int64), edits: make(edits)}
	c.of.Stream = true
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
	if w.stream, err = live.Backend.OpenStream(ctx, &c.of.Info); err != nil {
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
	c.events++
	parts, done := eventParts(event, c.events)
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
		if err := c.ask(ctx, parts); err != nil {
			return nil, err
		}
	}
	out, err := c.release(false)
	if err != nil {
		return nil, err
	}
	if c.size > maxHeld { // a member holds it: without one all is released
		w := c.watches[0]
		c.record(w, StatusNotRun, errTooLong)
		c.block(w.m, errTooLong)
		return nil, c.d.Err()
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
	c.watches, c.held = nil, nil
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

// endOf asks a member at the end of the stream. One that checks whole answers, and one that has seen another answer
// than the one that others before it have made of it, is shown the whole as it is now.
func (c *StreamCheck) endOf(ctx context.Context, w *watch) (Verdict, error) {
	turn, cancel := context.WithTimeout(ctx, w.m.deadline())
	defer cancel()
	if w.stream != nil && !c.changed {
		return w.stream.End(turn)
	}
	live, err := w.m.ready(w.hook)
	if err != nil {
		return Verdict{}, err
	}
	w.whole = c.texts()
	if w.stream != nil {
		v, err := judgeAsStream(turn, live.Backend, &c.of.Info, w.whole)
		v.Findings = slices.DeleteFunc(v.Findings, func(f Finding) bool { // what it has found already counts once
			return slices.ContainsFunc(w.found, func(o Finding) bool { return o.Category == f.Category })
		})
		return v, err
	}
	q := &Check{Hook: w.hook, Info: c.of.Info, Texts: w.whole}
	if live.Description.WantsBody {
		if q.Body, err = c.body(); err != nil {
			return Verdict{}, err
		}
	}
	if q.Request, err = c.of.asked(w.hook, &live.Description); err != nil {
		return Verdict{}, err
	}
	w.m.tell(q, &live.Description, c.of.Teller)
	return live.Backend.Check(turn, q)
}

// rewrite takes in what a member replaces: everything or, with an error, nothing.
func (c *StreamCheck) rewrite(w *watch, rs []Replacement) error {
	w.edited = w.edited || len(rs) > 0
	if w.whole != nil {
		return c.rewriteWhole(w.whole, rs)
	}
	for _, r := range rs {
		if r.Start < c.left[r.Channel] || r.Start >= r.End || r.End > c.seen[r.Channel] {
			return fmt.Errorf("plugin: replacement for bytes %d to %d of %s, of which %d have left and %d have come",
				r.Start, r.End, r.Channel, c.left[r.Channel], c.seen[r.Channel])
		}
	}
	for _, r := range rs {
		c.edits.add(r.Channel, edit{r.Start, r.End, r.Text})
	}
	return nil
}

// rewriteWhole puts texts in the place of those that a member was shown. Nothing of the stream has left.
func (c *StreamCheck) rewriteWhole(texts []Text, rs []Replacement) error {
	for _, r := range rs {
		if r.Index < 0 || r.Index >= len(texts) {
			return fmt.Errorf("plugin: replacement for text %d of %d", r.Index, len(texts))
		}
	}
	for _, r := range rs {
		if t := &texts[r.Index]; t.Text != r.Text {
			c.edits[t.Path] = []edit{{0, c.seen[t.Path], r.Text}}
			c.changed = true
		}
	}
	return nil
}

// texts is the whole answer as it is now, by channel. All of it is held.
func (c *StreamCheck) texts() []Text {
	at := make(map[string]int)
	var bufs [][]byte
	texts := []Text{}
	for i := range c.held {
		for _, p := range c.held[i].parts {
			n, ok := at[p.Channel]
			if !ok {
				n = len(texts)
				at[p.Channel] = n
				texts = append(texts, Text{Path: p.Channel, Role: "assistant"})
				bufs = append(bufs, nil)
			}
			bufs[n] = append(bufs[n], p.Text...)
		}
	}
	for i := range texts {
		texts[i].Text, _ = c.edits.splice(texts[i].Path, 0, string(bufs[i]))
	}
	return texts
}

// body is the whole answer as it is now, for plugins that want bodies.
func (c *StreamCheck) body() ([]byte, error) {
	events := make([][]byte, len(c.held))
	for i := range c.held {
		h := &c.held[i]
		var err error
		if events[i], err = c.edits.rewrite(h.raw, h.parts, h.ends); err != nil {
			return nil, err
		}
	}
	if c.of.Whole != nil {
		return c.of.Whole(events)
	}
	return eventsBody(events)
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
	if err == nil && v.Action == Rewrite && (w.whole != nil || !slices.ContainsFunc(v.Replacements, func(r Replacement) bool { return r.Channel == "" })) {
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
