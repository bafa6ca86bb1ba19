package bedrock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/conclave-llm/conclave/llm"
)

// A frame is, in big endian: its whole length and that of its headers, a checksum of both, the
// headers, the payload, and a checksum of all before it. A header is its name behind a byte for
// its length, a byte for the type of its value, and the value.
const (
	preludeSize = 12
	frameSize   = preludeSize + 4 // of a frame without headers and payload
	firstBuffer = 16 << 10
	maxHeaders  = 128 << 10 // as Amazon bounds them
	typeString  = 7
)

// The types of events.
const (
	eventStart      = "messageStart"
	eventBlockStart = "contentBlockStart"
	eventBlockDelta = "contentBlockDelta"
	eventBlockStop  = "contentBlockStop"
	eventStop       = "messageStop"
	eventMetadata   = "metadata"
)

var (
	errChecksum = errors.New("a frame's checksum is wrong")
	errFrame    = errors.New("a frame's lengths contradict each other")
)

// Reader splits the frames of Amazon's event stream without allocating for each. An event's Type
// is what the frame's headers name; that of an exception is its name, and its Data begin with that
// name as "__type". It is not safe for concurrent use.
type Reader struct {
	src      io.Reader
	max      int
	buf      []byte
	at, end  int    // buf[at:end] is read and not yet returned
	made     []byte // the data of an exception
	finished error  // what the source returned last
}

// NewReader returns a reader of frames no larger than most; 0 means llm.DefaultMaxEvent.
func NewReader(src io.Reader, most int) *Reader {
	if most <= 0 {
		most = llm.DefaultMaxEvent
	}
	return &Reader{src: src, max: most, buf: make([]byte, min(firstBuffer, most+frameSize))}
}

// Next returns the next event, valid until the next call. io.EOF is the end of the stream,
// io.ErrUnexpectedEOF one inside a frame.
func (r *Reader) Next() (llm.Event, error) {
	if err := r.need(preludeSize); err != nil {
		return llm.Event{}, err
	}
	head := r.buf[r.at:]
	if crc32.ChecksumIEEE(head[:8]) != binary.BigEndian.Uint32(head[8:]) {
		return llm.Event{}, errChecksum
	}
	size, headers := int(binary.BigEndian.Uint32(head)), int(binary.BigEndian.Uint32(head[4:]))
	switch {
	case size > r.max:
		return llm.Event{}, llm.ErrEventTooLarge
	case size < frameSize || headers > size-frameSize || headers > maxHeaders:
		return llm.Event{}, errFrame
	}
	if err := r.need(size); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return llm.Event{}, err
	}
	raw := r.buf[r.at : r.at+size : r.at+size]
	if crc32.ChecksumIEEE(raw[:size-4]) != binary.BigEndian.Uint32(raw[size-4:]) {
		return llm.Event{}, errChecksum
	}
	r.at += size
	return r.event(raw, raw[preludeSize:preludeSize+headers], raw[preludeSize+headers:size-4])
}

// need reads until n bytes are there.
func (r *Reader) need(n int) error {
	for r.end-r.at < n {
		if r.finished != nil {
			if r.end > r.at && errors.Is(r.finished, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			return r.finished
		}
		r.room(n)
		r.read()
	}
	return nil
}

// room makes room for n bytes from at on. What is announced is not believed: the buffer at most
// doubles, as long as bytes come.
func (r *Reader) room(n int) {
	if r.at > 0 && (r.at == r.end || r.at+n > len(r.buf)) {
		r.end = copy(r.buf, r.buf[r.at:r.end])
		r.at = 0
	}
	if r.end < len(r.buf) {
		return
	}
	grown := make([]byte, min(2*len(r.buf), r.max+frameSize))
	copy(grown, r.buf[:r.end])
	r.buf = grown
}

func (r *Reader) read() {
	for range 100 {
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		r.finished = err
		if n > 0 || err != nil {
			return
		}
	}
	r.finished = io.ErrNoProgress
}

// event makes an event of a frame.
func (r *Reader) event(raw, headers, payload []byte) (llm.Event, error) {
	h, err := readHeaders(headers)
	if err != nil {
		return llm.Event{}, err
	}
	e := llm.Event{Raw: raw, Type: h.event}
	if len(payload) > 0 {
		e.Data = payload
	}
	switch string(h.message) {
	case "exception":
		e.Type, e.Data = h.exception, r.exception(h.exception, payload)
	case "error":
		e.Type, e.Data = h.code, r.exception(h.code, appendMessage(nil, string(h.text)))
	}
	return e, nil
}

// exception is an exception's payload with its name in it.
func (r *Reader) exception(name, payload []byte) []byte {
	r.made = append(r.made[:0], `{"__type":`...)
	r.made = llm.AppendString(r.made, string(name))
	if p := bytes.TrimSpace(payload); len(p) > 2 && p[0] == '{' {
		r.made = append(r.made, ',')
		return append(r.made, p[1:]...)
	}
	r.made = append(r.made, '}')
	return r.made
}

// frameHeaders are those that count.
type frameHeaders struct{ message, event, exception, code, text []byte }

// valueSizes are those of the values whose size is their type's.
var valueSizes = [...]int{0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}

func readHeaders(b []byte) (h frameHeaders, err error) {
	for len(b) > 0 {
		n := int(b[0])
		if len(b) < n+2 {
			return h, errFrame
		}
		name, typ := b[1:1+n], b[1+n]
		b = b[2+n:]
		size := 0
		switch {
		case typ == 6 || typ == typeString:
			if len(b) < 2 {
				return h, errFrame
			}
			size = int(binary.BigEndian.Uint16(b))
			b = b[2:]
		case int(typ) < len(valueSizes):
			size = valueSizes[typ]
		default:
			return h, fmt.Errorf("%w: a header has type %d", errFrame, typ)
		}
		if len(b) < size {
			return h, errFrame
		}
		if typ == typeString {
			h.set(name, b[:size])
		}
		b = b[size:]
	}
	return h, nil
}

func (h *frameHeaders) set(name, value []byte) {
	switch string(name) {
	case ":message-type":
		h.message = value
	case ":event-type":
		h.event = value
	case ":exception-type":
		h.exception = value
	case ":error-code":
		h.code = value
	case ":error-message":
		h.text = value
	}
}

// appendFrame appends a frame whose payload add appends.
func appendFrame(dst []byte, message, kindName, kind string, add func([]byte) []byte) []byte {
	return appendFrameOf(dst, message, kindName, kind, "application/json", add)
}

// appendFrameOf is appendFrame for a payload of another type.
func appendFrameOf(dst []byte, message, kindName, kind, content string, add func([]byte) []byte) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, preludeSize)...)
	dst = appendHeader(dst, kindName, kind)
	dst = appendHeader(dst, ":content-type", content)
	dst = appendHeader(dst, ":message-type", message)
	headers := len(dst) - start - preludeSize
	dst = add(dst)
	f := dst[start:]
	binary.BigEndian.PutUint32(f, uint32(len(f)+4))
	binary.BigEndian.PutUint32(f[4:], uint32(headers))
	binary.BigEndian.PutUint32(f[8:], crc32.ChecksumIEEE(f[:8]))
	return binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(f))
}

// AppendEvent appends an event of the type, whose payload add appends.
func AppendEvent(dst []byte, typ string, add func([]byte) []byte) []byte {
	return appendFrame(dst, "event", ":event-type", typ, add)
}

// AppendException appends an exception.
func AppendException(dst []byte, name, message string) []byte {
	return appendFrame(dst, "exception", ":exception-type", name, func(b []byte) []byte { return appendMessage(b, message) })
}

func appendHeader(dst []byte, name, value string) []byte {
	dst = append(dst, byte(len(name)))
	dst = append(dst, name...)
	dst = append(dst, typeString)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(value)))
	return append(dst, value...)
}

func appendMessage(b []byte, message string) []byte {
	return append(llm.AppendString(append(b, `{"message":`...), message), '}')
}

// isException says whether the name is that of an exception, in its form of a stream.
func isException(name []byte) bool {
	return bytes.HasSuffix(name, []byte("Exception")) || bytes.HasSuffix(name, []byte("Error")) || bytes.HasSuffix(name, []byte("Failure"))
}
