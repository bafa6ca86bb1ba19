package scan

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/conclave-llm/conclave/plugins/sdk"
)

const (
	maxChannels = 4096 // texts side by side in one stream
	lookBack    = 128  // bytes before what is looked at, which may decide about it
	step        = 64   // bytes that come before a text is looked through again
)

// OpenStream judges a stream.
func (g *Guard) OpenStream(_ context.Context, info *sdk.Info) (sdk.GuardrailStream, error) {
	return &stream{g: g, info: *info, tails: make(map[string]*tail)}, nil
}

// stream finds spans that are split between chunks.
type stream struct {
	g     *Guard
	info  sdk.Info
	tails map[string]*tail
}

// tail is the end of one of the texts.
type tail struct {
	text  string
	at    int // where it begins in the whole text
	floor int // everything that begins before it is decided, but for what late finds
	low   int // what begins before it may have left
	fresh int // bytes that have not been looked at
}

// Chunk implements sdk.GuardrailStream.
func (s *stream) Chunk(_ context.Context, parts []sdk.Part) (sdk.Verdict, error) {
	var out outcome
	for _, p := range parts {
		t := s.tails[p.Channel]
		if t == nil {
			if len(s.tails) >= maxChannels {
				return sdk.Verdict{}, errors.New("too many texts side by side")
			}
			t = &tail{}
			s.tails[p.Channel] = t
		}
		t.text += p.Text
		if t.fresh += len(p.Text); t.fresh < step {
			continue
		}
		t.fresh = 0
		if err := s.scan(p.Channel, t, &out, s.g.Finder.Reach()); err != nil {
			return sdk.Verdict{}, err
		}
		t.cut(s.g.Finder.Reach())
	}
	return s.g.verdict(out.blocked, out.masked, out.found), nil
}

// End implements sdk.GuardrailStream.
func (s *stream) End(context.Context) (sdk.Verdict, error) {
	var out outcome
	for channel, t := range s.tails {
		if err := s.scan(channel, t, &out, -1); err != nil {
			return sdk.Verdict{}, err
		}
	}
	return s.g.verdict(out.blocked, out.masked, out.found), nil
}

// Close implements sdk.GuardrailStream.
func (s *stream) Close() { clear(s.tails) }

type outcome struct {
	blocked bool
	masked  []sdk.Replacement
	found   findings
}

// scan decides about the spans of a text that cannot grow any more: those that do not reach its
// end, and those that are longer than reach, whose beginning is about to leave. A negative reach says
// that the text is whole.
func (s *stream) scan(channel string, t *tail, out *outcome, reach int) error {
	seen := t.at + len(t.text)
	if err := s.late(channel, t, out, reach); err != nil {
		return err
	}
	spans, err := s.g.Finder.Find(&s.info, t.text, t.floor-t.at)
	if err != nil {
		return err
	}
	for _, f := range spans {
		start, end := t.at+f.Start, t.at+f.End
		if start < t.floor {
			continue
		}
		if end == seen && seen-start <= reach {
			return nil
		}
		t.floor = end
		out.add(channel, f, t.at, end == seen && reach >= 0)
	}
	return nil
}

// late decides about what overlaps the end of what was decided, and had not come as a whole then: something that
// is reported, or masked, hides nothing.
func (s *stream) late(channel string, t *tail, out *outcome, reach int) error {
	if t.low >= t.floor {
		return nil
	}
	seen := t.at + len(t.text)
	spans, err := s.g.Finder.Find(&s.info, t.text, t.low-t.at)
	if err != nil {
		return err
	}
	for _, f := range spans {
		start, end := t.at+f.Start, t.at+f.End
		if f.Action != Block && f.Action != Mask || start < t.low || start >= t.floor || end <= t.floor || end == seen && seen-start <= reach {
			continue
		}
		t.floor = end
		out.add(channel, f, t.at, end == seen && reach >= 0)
	}
	return nil
}

// add takes a span of a text that begins at a place; open says that nobody knows where the span ends.
func (o *outcome) add(channel string, f Span, at int, open bool) {
	o.found.add(f.Category)
	switch {
	case f.Action == Block, f.Action == Mask && open:
		o.blocked = true
	case f.Action == Mask:
		o.masked = append(o.masked, sdk.Replacement{Channel: channel, Start: int64(at + f.Start), End: int64(at + f.End), Text: f.Text})
	}
}

// cut forgets what is decided, but for a little to look back at.
func (t *tail) cut(reach int) {
	t.low = max(t.low, t.at+len(t.text)-reach)
	t.floor = max(t.floor, t.low)
	from := t.low - t.at - lookBack
	for from > 0 && !utf8.RuneStart(t.text[from]) {
		from--
	}
	if from > 0 {
		t.text = strings.Clone(t.text[from:])
		t.at += from
	}
}
