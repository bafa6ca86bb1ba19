// Package fields reads what the journal and the nodes' own messages are made of: numbers of one to ten
// bytes, and texts behind their lengths.
package fields

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrShort says that a body ends before its last field, or has a length beyond its end.
var ErrShort = errors.New("body is too short")

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

// Text reads a text.
func (r *Reader) Text() string { return string(r.Bytes()) }

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
