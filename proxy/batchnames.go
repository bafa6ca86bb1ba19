package proxy

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/batch"
	"github.com/conclave-llm/conclave/proxy/pass"
)

// rename puts the client's names of models in the place of the provider's, in the lines of a batch's files and results.
func (c *Call) rename(a *Answer) {
	if len(c.kept.Names) == 0 || c.method != http.MethodGet || !strings.HasSuffix(c.rest, "/content") && pass.Results(c.rest) == "" {
		return
	}
	a.Header = a.Header.Clone()
	a.Header.Del("Content-Length")
	lines := &renamed{Stream: a.Stream, names: c.kept.Names}
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
	Stream
	names batch.Names
	lines batch.Lines
	out   []byte
	end   error
}

func (r *renamed) feed(piece []byte) {
	r.lines.Feed(piece, r.line, func(rest []byte) { r.out = append(r.out, rest...) })
}

func (r *renamed) line(line []byte) { r.out = r.names.AppendLine(r.out, line) }

func (r *renamed) finish() { r.lines.End(r.line) }

// Next implements Stream.
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
