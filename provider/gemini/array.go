package gemini

import "bytes"

// Array turns a stream of server-sent events into the JSON array that Google sends to clients who
// do not ask for alt=sse: one element an event, each sent as it comes. Its zero value is at the
// beginning. It is made for one stream.
type Array struct {
	begun bool
	line  []byte // that has not ended
	data  []byte // of the event that has not ended
}

// Append appends what the bytes of the stream add to the array. They may end anywhere.
func (a *Array) Append(dst, stream []byte) []byte {
	for {
		line, rest, whole := bytes.Cut(stream, []byte{'\n'})
		if !whole {
			a.line = append(a.line, stream...)
			return dst
		}
		if len(a.line) > 0 {
			line = append(a.line, line...)
		}
		dst = a.take(dst, bytes.TrimSuffix(line, []byte{'\r'}))
		a.line, stream = a.line[:0], rest
	}
}

// take takes one line.
func (a *Array) take(dst, line []byte) []byte {
	if value, ok := bytes.CutPrefix(line, []byte("data:")); ok {
		if len(a.data) > 0 {
			a.data = append(a.data, '\n')
		}
		a.data = append(a.data, bytes.TrimPrefix(value, []byte{' '})...)
		return dst
	}
	if len(line) > 0 || len(a.data) == 0 {
		return dst
	}
	if a.begun {
		dst = append(dst, ",\r\n"...)
	} else {
		dst = append(dst, '[')
	}
	dst = append(dst, a.data...)
	a.begun, a.data = true, a.data[:0]
	return dst
}

// End appends the end of the array.
func (a *Array) End(dst []byte) []byte {
	if !a.begun {
		dst = append(dst, '[')
	}
	return append(dst, ']')
}
