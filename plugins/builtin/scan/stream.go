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
	floor int // everything that begins before it is decided
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
		out.found.add(f.Category)
		switch f.Action {
		case Block:
			out.blocked = true
		case Mask:
			if end == seen && reach >= 0 {
				out.blocked = true // nobody knows where it ends
				continue
			}
			out.masked = append(out.masked, sdk.Replacement{Channel: channel, Start: int64(start), End: int64(end), Text: f.Text})
		}
	}
	return nil
}

// cut forgets what is decided, but for a little to look back at.
func (t *tail) cut(reach int) {
	t.floor = max(t.floor, t.at+len(t.text)-reach)
	from := t.floor - t.at - lookBack
	for from > 0 && !utf8.RuneStart(t.text[from]) {
		from--
	}
	if from > 0 {
		t.text = strings.Clone(t.text[from:])
		t.at += from
	}
}
