// Package jsonread reads JSON whose shape is known, with a word for everything that is not as it
// should be: which field, and what is wrong with it.
package jsonread

import (
	"strconv"

	"github.com/conclave-llm/conclave/llm"
)

// New reads the body.
func New(body []byte) Reader { return Reader{Cursor: llm.NewCursor(body)} }

// Within reads a value that stands below what the prefix names.
func Within(body []byte, prefix string) Reader {
	return Reader{Cursor: llm.NewCursor(body), Prefix: prefix}
}

// From goes on where the cursor stands. The cursor itself does not move.
func From(c llm.Cursor) Reader { return Reader{Cursor: c} }

// Reader reads a client's request or a provider's answer, value by value. It keeps the first thing
// that is wrong with it, and where. Values that may be left out may also be null.
type Reader struct {
	llm.Cursor
	Prefix string // of the names of what is read: "messages[2]."
	Fault  error  // what is wrong; nil: nothing is so far, but for the syntax
}

// Wrong notes what is wrong with the member that was read last.
func (r *Reader) Wrong(what string) { r.WrongAt(r.Prefix+string(r.Name()), what) }

// WrongAt notes what is wrong with the field that param names.
func (r *Reader) WrongAt(param, what string) {
	if r.Fault == nil && r.Err() == nil {
		r.Fault = Invalid(param, what)
	}
}

// Invalid makes the error of a field with a wrong value.
func Invalid(param, what string) error {
	return &llm.Error{
		Kind: llm.Invalid, Code: "invalid_value", Param: param,
		Message: "Invalid value for " + strconv.Quote(param) + ": " + what + ".",
	}
}

// Within reads with f what stands below the member that was read last.
func (r *Reader) Within(f func()) {
	before := r.Prefix
	r.Prefix += string(r.Name()) + "."
	f()
	r.Prefix = before
}

// List reads an array with f, which takes one element. A value that is no array is an error,
// but for null.
func (r *Reader) List(f func(i int)) {
	before, name := r.Prefix, string(r.Name())
	if next := r.Next(); next != '[' && next != 'n' {
		r.Wrong("must be an array")
	}
	for i := 0; r.Element(i); i++ {
		r.Prefix = before + name + "[" + strconv.Itoa(i) + "]."
		f(i)
	}
	r.Prefix = before
}

// Object reads an object with f, which takes one member.
func (r *Reader) Object(f func(name string)) {
	if next := r.Next(); next != '{' && next != 'n' {
		r.Wrong("must be an object")
	}
	r.Within(func() { r.Members(f) })
}

// Entry reads an element of an array that must be an object.
func (r *Reader) Entry(f func(name string)) {
	if r.Next() != '{' {
		r.WrongAt(r.Prefix[:max(len(r.Prefix)-1, 0)], "must be an object")
	}
	r.Members(f)
}

// Members reads the members of an object with f.
func (r *Reader) Members(f func(name string)) {
	for n := 0; r.Member(n); n++ {
		f(string(r.Name()))
	}
}

// Str takes a string or null.
func (r *Reader) Str() string {
	if next := r.Next(); next != '"' && next != 'n' {
		r.Wrong("must be a string")
	}
	return r.Text()
}

// Shared takes a string or null as Str does; a long string is no copy, as llm.Cursor's is none.
func (r *Reader) Shared() string {
	if next := r.Next(); next != '"' && next != 'n' {
		r.Wrong("must be a string")
	}
	return r.Cursor.Shared()
}

// Strs takes a string or an array of strings.
func (r *Reader) Strs() (list []string) {
	if r.Next() == '"' {
		return []string{r.Text()}
	}
	r.List(func(int) {
		if r.Next() != '"' {
			r.WrongAt(r.Prefix[:max(len(r.Prefix)-1, 0)], "must be a string")
		}
		list = append(list, r.Text())
	})
	return list
}

// Flag takes true, false or null.
func (r *Reader) Flag() *bool {
	null := r.Next() == 'n'
	v, ok := r.Bool()
	if null || !ok {
		if !null {
			r.Wrong("must be true or false")
		}
		return nil
	}
	return &v
}

// True takes true, false or null, and says whether it is true.
func (r *Reader) True() bool { v := r.Flag(); return v != nil && *v }

// Number takes a number or null.
func (r *Reader) Number() *float64 {
	null := r.Next() == 'n'
	v, ok := r.Float()
	if null || !ok {
		if !null {
			r.Wrong("must be a number")
		}
		return nil
	}
	return &v
}

// Whole takes a whole number or null.
func (r *Reader) Whole() *int64 {
	null := r.Next() == 'n'
	v, ok := r.Int()
	if null || !ok {
		if !null {
			r.Wrong("must be a whole number")
		}
		return nil
	}
	return &v
}

// Count takes a whole number that is not negative, or null, which is 0.
func (r *Reader) Count() int64 {
	v := r.Whole()
	if v == nil {
		return 0
	}
	if *v < 0 || *v > llm.MaxTokenCount {
		r.Wrong("must be a whole number within bounds")
		return 0
	}
	return *v
}

// Finish returns the first error.
func (r *Reader) Finish() error {
	if err := r.End(); err != nil {
		return err
	}
	return r.Fault
}
