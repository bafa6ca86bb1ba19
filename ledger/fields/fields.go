// Package fields reads what the journal and the nodes' own messages are made of: numbers of one to ten
// bytes, and texts behind their lengths.
package fields

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrShort says that a body ends before its last field, or has a length beyond its end.
var ErrShort = errors.New("body is too short")

// Valid is s with a '?' in the place of each byte that is not UTF-8, so that it keeps its length. The replicated
// state takes no other texts.
func Valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			b.WriteByte('?')
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// Cut is the beginning of s, made Valid, of at most so many bytes; it ends with a whole character.
func Cut(s string, most int) string {
	s = Valid(s)
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

// AppendText appends a text, Cut to so many bytes, behind its length.
func AppendText(b []byte, s string, most int) []byte {
	s = Cut(s, most)
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Reader takes fields off B. The first field that is not there makes all later ones zero and Err set. It does
// not allocate but for texts.
type Reader struct {
	B   []byte // what is left
	Err error
}

// Fail sets the error, if there is none yet, and leaves nothing to be read.
func (r *Reader) Fail(err error) {
	if r.Err == nil {
		r.Err = err
	}
	r.B = nil
}

// Uint reads an unsigned number.
func (r *Reader) Uint() uint64 {
	v, n := binary.Uvarint(r.B)
	if n <= 0 {
		r.Fail(ErrShort)
		return 0
	}
	r.B = r.B[n:]
	return v
}

// Int reads a number.
func (r *Reader) Int() int64 {
	v, n := binary.Varint(r.B)
	if n <= 0 {
		r.Fail(ErrShort)
		return 0
	}
	r.B = r.B[n:]
	return v
}

// Bytes reads bytes behind their length; they are a part of the body.
func (r *Reader) Bytes() []byte {
	n := r.Uint()
	if n > uint64(len(r.B)) {
		r.Fail(ErrShort)
		return nil
	}
	b := r.B[:n]
	r.B = r.B[n:]
	return b
}

// Text reads a text, made Valid: earlier versions wrote what clients sent as it was.
func (r *Reader) Text() string { return Valid(string(r.Bytes())) }

// Count reads the length of a list whose items take at least one byte each.
func (r *Reader) Count() int {
	n := r.Uint()
	if n > uint64(len(r.B)) {
		r.Fail(ErrShort)
		return 0
	}
	return int(n)
}

// Texts reads a list of texts; nil if there is none.
func (r *Reader) Texts() []string {
	var list []string
	for range r.Count() {
		list = append(list, r.Text())
		if r.Err != nil {
			return nil
		}
	}
	return list
}

// Done returns the first error, or one for bytes that are left.
func (r *Reader) Done() error {
	if r.Err == nil && len(r.B) > 0 {
		return fmt.Errorf("body has %d bytes too many", len(r.B))
	}
	return r.Err
}
