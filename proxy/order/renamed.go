package order

import (
	"errors"
	"io"
	"slices"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/parts"
)

// Rename puts the client's names of models in the place of the provider's, in the lines of an answer, which are those of a
// batch's file or of its results.
func (n Names) Rename(a *parts.Answer) {
	a.Header = a.Header.Clone()
	a.Header.Del("Content-Length")
	lines := &renamed{Stream: a.Stream, names: n}
	if a.Stream != nil {
		a.Stream = lines
		return
	}
	lines.feed(a.Body)
	lines.finish()
	a.Body = slices.Clone(lines.out)
}

// renamed is a stream of lines, with the client's names in them. It holds one line at a time.
type renamed struct {
	parts.Stream
	names Names
	lines Lines
	out   []byte
	end   error
}

func (r *renamed) feed(piece []byte) {
	r.lines.Feed(piece, r.line, func(rest []byte) { r.out = append(r.out, rest...) })
}

func (r *renamed) line(line []byte) { r.out = r.names.AppendLine(r.out, line) }

func (r *renamed) finish() { r.lines.End(r.line) }

// Next implements parts.Stream.
func (r *renamed) Next() (llm.Event, error) {
	for r.end == nil {
		r.out = r.out[:0]
		ev, err := r.Stream.Next()
		switch {
		case err == nil:
			r.feed(ev.Raw)
		case errors.Is(err, io.EOF):
			r.end = err
			r.finish()
		default:
			r.end = err
		}
		if len(r.out) > 0 {
			return llm.Event{Raw: r.out}, nil
		}
	}
	return llm.Event{}, r.end
}
