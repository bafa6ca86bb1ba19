package llm

import (
	"bytes"
	"strconv"
	"unsafe"
)

// Cursor reads JSON in one pass without allocating for what it passes, and checks the syntax of
// all of it. After the first error every method returns its zero value, so that only the end of
// a walk asks for Err. A walk looks so:
//
//	for n := 0; c.Member(n); n++ {
//		switch string(c.Name()) {
//		case "id":
//			id = c.Text()
//		default:
//			c.Raw()
//		}
//	}
//
// It is not safe for concurrent use.
type Cursor struct {
	s    scanner
	name []byte
}

// NewCursor returns a Cursor at the first value in b.
func NewCursor(b []byte) Cursor { return Cursor{s: scanner{b: b}} }

// Next tells the value that comes by its first byte: '{', '[', '"', 't', 'f', 'n', or that of a
// number; 0 at the end.
func (c *Cursor) Next() byte {
	if !c.s.ok() {
		return 0
	}
	return c.s.space()
}

// Member goes to the next member of an object, of which n were taken, and keeps its Name. A value
// that is no object is passed over.
func (c *Cursor) Member(n int) bool {
	if !enterObject(&c.s, n) || !c.s.next('}', n) {
		return false
	}
	c.name = c.s.key()
	if bytes.IndexByte(c.name, '\\') >= 0 {
		c.name = appendUnescaped(nil, c.name)
	}
	return c.s.ok()
}

// Name is that of the member, valid until the next is met.
func (c *Cursor) Name() []byte { return c.name }

// Element goes to the next element of an array, of which n were taken. A value that is no array
// is passed over.
func (c *Cursor) Element(n int) bool { return enterIf(&c.s, '[', n) && c.s.next(']', n) }

// Raw takes any value and returns its bytes, which are those of the text that is read.
func (c *Cursor) Raw() []byte { return c.s.value() }

// Copy takes any value and returns a copy of its bytes, nil for null.
func (c *Cursor) Copy() []byte {
	v := c.s.value()
	if len(v) == 0 || v[0] == 'n' {
		return nil
	}
	return bytes.Clone(v)
}

// Text takes a string. Any other value is passed over and gives "".
func (c *Cursor) Text() string {
	v := c.s.value()
	if len(v) < 2 || v[0] != '"' {
		return ""
	}
	return unquote(v)
}

// sharedFrom is the size of a string from which a copy of it is worth avoiding.
const sharedFrom = 64 << 10

// Shared takes a string as Text does, without a copy if it is long, as a picture is: the string is
// then the bytes of the text that is read, which must not change while the string is in use.
func (c *Cursor) Shared() string {
	v := c.s.value()
	if len(v) < 2 || v[0] != '"' {
		return ""
	}
	if len(v) < sharedFrom || bytes.IndexByte(v, '\\') >= 0 {
		return unquote(v)
	}
	v = v[1 : len(v)-1]
	return unsafe.String(unsafe.SliceData(v), len(v)) //nolint:gosec // a view of bytes that outlive it, as the comment demands
}

// Bool takes true or false; ok is false for any other value.
func (c *Cursor) Bool() (v, ok bool) {
	raw := c.s.value()
	if len(raw) == 0 || raw[0] != 't' && raw[0] != 'f' {
		return false, false
	}
	return raw[0] == 't', true
}

// Int takes a whole number; ok is false for any other value.
func (c *Cursor) Int() (n int64, ok bool) {
	v := c.s.value()
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err == nil {
		return n, true
	}
	f, err := strconv.ParseFloat(string(v), 64) // 3.0 and 1e3 are whole
	if err != nil || f != float64(int64(f)) || f > 1<<53 || f < -1<<53 {
		return 0, false
	}
	return int64(f), true
}

// Float takes a number; ok is false for any other value.
func (c *Cursor) Float() (f float64, ok bool) {
	f, err := strconv.ParseFloat(string(c.s.value()), 64)
	return f, err == nil
}

// End checks that nothing follows the value that was taken, and returns Err.
func (c *Cursor) End() error {
	c.s.finish()
	return c.Err()
}

// Err is an *Error of kind Invalid that says where the syntax is wrong; nil if it is not.
func (c *Cursor) Err() error {
	if c.s.ok() {
		return nil
	}
	return c.s.invalid()
}

// AppendKey appends the name of a member, with the comma before it unless it is the first of its
// object.
func AppendKey(dst []byte, name string) []byte {
	dst = AppendComma(dst)
	dst = append(dst, '"')
	dst = append(dst, name...)
	return append(dst, '"', ':')
}

// AppendComma appends the comma before an element or a member, unless it is the first.
func AppendComma(dst []byte) []byte {
	if n := len(dst); n == 0 || dst[n-1] == '{' || dst[n-1] == '[' {
		return dst
	}
	return append(dst, ',')
}

// AppendRaw appends a value that is JSON already, without line ends, which are data lines of
// their own in an event; null for none.
func AppendRaw(dst, raw []byte) []byte {
	if len(raw) == 0 {
		return append(dst, "null"...)
	}
	for {
		i := bytes.IndexAny(raw, "\r\n")
		if i < 0 {
			return append(dst, raw...)
		}
		dst = append(dst, raw[:i]...)
		raw = raw[i+1:]
	}
}
