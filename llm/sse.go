package llm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

const (
	sseBuffer = 16 << 10 // what a transport reads at once
	// DefaultMaxEvent is the largest event that an SSEReader takes if it is not told: events
	// with images and audio are megabytes long.
	DefaultMaxEvent = 32 << 20
)

// ErrEventTooLarge is returned for an event beyond the reader's limit.
var ErrEventTooLarge = errors.New("server-sent event is too large")

// Event is one server-sent event as it came. Its slices are valid until the next call of Next.
type Event struct {
	// Raw is every byte of the event with the blank line that ends it, and with comments, ids
	// and white space. Relaying the Raw of all events relays the stream byte for byte.
	Raw  []byte
	Data []byte // the data lines, joined with line feeds; nil if there is none
	Type []byte // of the event line; empty means "message"
	Cut  bool   // the stream ended inside this event
}

// SSEReader splits a stream of server-sent events without allocating per event. It takes all
// three line ends of the specification. It is not safe for concurrent use.
type SSEReader struct {
	src      io.Reader
	max      int
	buf      []byte
	at, end  int    // buf[at:end] is read and not yet returned
	joined   []byte // room for data of several lines
	started  bool   // the first bytes, which may be a byte order mark, have been passed
	finished error  // what the source returned last
}

// NewSSEReader returns a reader of r. maxEvent 0 means DefaultMaxEvent.
func NewSSEReader(r io.Reader, maxEvent int) *SSEReader {
	s := new(SSEReader)
	s.Reset(r, maxEvent)
	return s
}

// Reset makes s read from r and keeps its buffer.
func (s *SSEReader) Reset(r io.Reader, maxEvent int) {
	if maxEvent <= 0 {
		maxEvent = DefaultMaxEvent
	}
	*s = SSEReader{src: r, max: maxEvent, buf: s.buf, joined: s.joined[:0]}
	if s.buf == nil {
		s.buf = make([]byte, sseBuffer)
	}
}

// Cap is the size of the buffer, for those who keep readers.
func (s *SSEReader) Cap() int { return cap(s.buf) + cap(s.joined) }

// Next returns the next event. Comments that stand alone are events without data. At the end
// it returns io.EOF, or what the source returned; bytes without a blank line after them come
// as an event that is Cut.
func (s *SSEReader) Next() (Event, error) {
	p := parser{line: s.at, seek: s.at}
	for {
		if done, size := p.scan(s); done {
			return s.event(&p, size), nil
		}
		if s.finished != nil {
			if s.at == s.end {
				return Event{}, s.finished
			}
			if p.line < s.end {
				p.field(s.buf[p.line:s.end], s, p.line)
			}
			e := s.event(&p, s.end-s.at)
			e.Cut = p.fields > 0
			return e, nil
		}
		if moved, err := s.fill(); err != nil {
			return Event{}, err
		} else if moved > 0 {
			p.move(moved)
		}
	}
}

// fill reads more. It returns by how many bytes what is buffered has moved to the front.
func (s *SSEReader) fill() (moved int, err error) {
	if s.end == len(s.buf) {
		if moved = s.at; moved > 0 {
			s.end = copy(s.buf, s.buf[s.at:s.end])
			s.at = 0
		}
		if s.end > len(s.buf)/2 {
			if len(s.buf) >= s.max {
				return moved, ErrEventTooLarge
			}
			grown := make([]byte, min(2*len(s.buf), max(s.max, sseBuffer)))
			copy(grown, s.buf[:s.end])
			s.buf = grown
		}
	}
	for range 100 {
		n, err := s.src.Read(s.buf[s.end:])
		s.end += n
		if err != nil {
			s.finished = err
			return moved, nil
		}
		if n > 0 {
			return moved, nil
		}
	}
	s.finished = io.ErrNoProgress
	return moved, nil
}

// event cuts size bytes off the buffer.
func (s *SSEReader) event(p *parser, size int) Event {
	e := Event{Raw: s.buf[s.at : s.at+size : s.at+size]}
	if p.typeEnd > 0 {
		e.Type = s.buf[p.typeStart:p.typeEnd]
	}
	switch {
	case p.lines == 1:
		e.Data = s.buf[p.dataStart:p.dataEnd:p.dataEnd]
	case p.lines > 1:
		e.Data = s.joined
	}
	s.at += size
	s.started = true
	if s.at == s.end {
		s.at, s.end = 0, 0 // the slices stay as they are until the next read
	}
	return e
}

// parser holds what is known of the event that begins at the reader's at. All numbers are
// places in its buffer.
type parser struct {
	line      int // where the current line begins
	seek      int // no line end stands between line and here
	fields    int // lines of the event that were not blank
	lines     int // data lines
	dataStart int
	dataEnd   int
	typeStart int
	typeEnd   int
}

// move follows the buffer's bytes to the front.
func (p *parser) move(by int) {
	p.line -= by
	p.seek -= by
	p.dataStart -= by
	p.dataEnd -= by
	p.typeStart -= by
	p.typeEnd -= by
}

// scan takes whole lines and says whether the event is complete, and its size.
func (p *parser) scan(s *SSEReader) (done bool, size int) {
	b := s.buf[:s.end]
	for {
		end, next := lineEnd(b, p.seek)
		switch {
		case end < 0:
			p.seek = len(b)
			return false, 0
		case end > p.line:
			if next == len(b) && b[end] == '\r' && s.finished == nil {
				p.seek = end
				return false, 0 // an LF may follow
			}
			p.field(b[p.line:end], s, p.line)
			p.line, p.seek = next, next
		default:
			// A CR that ends the buffer is enough: if its LF follows, it stands as a blank line
			// before the next event, where blank lines mean nothing.
			p.line, p.seek = next, next
			if p.fields > 0 {
				return true, next - s.at
			}
		}
	}
}

// lineEnd finds the end of the line in b at or after from, and where the next line begins.
func lineEnd(b []byte, from int) (end, next int) {
	seg := b[from:]
	lf := bytes.IndexByte(seg, '\n')
	if lf >= 0 {
		seg = seg[:lf]
	}
	if cr := bytes.IndexByte(seg, '\r'); cr >= 0 {
		if cr+1 == lf {
			return from + cr, from + cr + 2
		}
		return from + cr, from + cr + 1
	}
	if lf < 0 {
		return -1, -1
	}
	return from + lf, from + lf + 1
}

func isBOM(b []byte) bool { return len(b) >= 3 && b[0] == 0xEF && b[1] == 0xBB && b[2] == 0xBF }

// field takes one line, which begins at place at of the buffer.
func (p *parser) field(line []byte, s *SSEReader, at int) {
	if !s.started && p.fields == 0 && isBOM(line) {
		line, at = line[3:], at+3
	}
	p.fields++
	if len(line) < 4 || (line[0] != 'd' && line[0] != 'e') {
		return
	}
	name, value := line, at+len(line)
	if i := bytes.IndexByte(line, ':'); i >= 0 {
		name, value = line[:i], at+i+1
		if i+1 < len(line) && line[i+1] == ' ' {
			value++
		}
	}
	switch string(name) {
	case "event":
		p.typeStart, p.typeEnd = value, at+len(line)
	case "data":
		p.data(s, value, at+len(line))
	}
}

// data takes the value of a data line.
func (p *parser) data(s *SSEReader, start, end int) {
	p.lines++
	switch p.lines {
	case 1:
		p.dataStart, p.dataEnd = start, end
		return
	case 2:
		s.joined = append(s.joined[:0], s.buf[p.dataStart:p.dataEnd]...)
	}
	s.joined = append(s.joined, '\n')
	s.joined = append(s.joined, s.buf[start:end]...)
}

// AppendEvent appends a server-sent event of the type ("" for none) with data, whose line feeds
// become lines of their own.
func AppendEvent(dst []byte, typ string, data []byte) []byte {
	if typ != "" {
		dst = append(dst, "event: "...)
		dst = append(dst, typ...)
		dst = append(dst, '\n')
	}
	for {
		line, rest, more := bytes.Cut(data, []byte{'\n'})
		dst = append(dst, "data: "...)
		dst = append(dst, line...)
		dst = append(dst, '\n')
		if !more {
			return append(dst, '\n')
		}
		data = rest
	}
}

// SSEWriter writes server-sent events, each with one Write.
type SSEWriter struct {
	w   io.Writer
	buf []byte
}

// NewSSEWriter returns a writer to w.
func NewSSEWriter(w io.Writer) *SSEWriter { return &SSEWriter{w: w} }

// Event writes an event of the type ("" for none).
func (s *SSEWriter) Event(typ string, data []byte) error {
	s.buf = AppendEvent(s.buf[:0], typ, data)
	_, err := s.w.Write(s.buf)
	return err
}

// Comment writes a comment, which keeps a connection alive and is no event. text has no line end.
func (s *SSEWriter) Comment(text string) error {
	s.buf = append(s.buf[:0], ": "...)
	s.buf = append(s.buf, text...)
	s.buf = append(s.buf, '\n', '\n')
	_, err := s.w.Write(s.buf)
	return err
}

// EventSize is the size of the first event of b, which must not be empty: a frame of Amazon's, which begins
// with its size, or a server-sent event, which ends with an empty line. What has no end is one event.
func EventSize(b []byte) int {
	if b[0] < ' ' && len(b) >= 4 {
		return max(1, min(int(binary.BigEndian.Uint32(b)), len(b)))
	}
	n := len(b)
	for _, end := range [...]string{"\n\n", "\r\n\r\n"} {
		if i := bytes.Index(b, []byte(end)); i >= 0 {
			n = min(n, i+len(end))
		}
	}
	return n
}
