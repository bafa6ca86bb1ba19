package bedrock

import (
	"strconv"

	"github.com/conclave-llm/conclave/llm"
)

// reader reads a client's request or a provider's answer. It keeps the first thing that is wrong
// with it, and where.
type reader struct {
	llm.Cursor
	prefix string // of the names of what is read: "messages[2]."
	err    error
}

// wrong notes what is wrong with the member that was read last.
func (r *reader) wrong(what string) { r.wrongAt(r.prefix+string(r.Name()), what) }

func (r *reader) wrongAt(param, what string) {
	if r.err == nil && r.Err() == nil {
		r.err = &llm.Error{
			Kind: llm.Invalid, Code: "invalid_value", Param: param,
			Message: "Invalid value for " + strconv.Quote(param) + ": " + what + ".",
		}
	}
}

// list reads an array with f, which takes one element. null is an empty one.
func (r *reader) list(f func()) {
	before, name := r.prefix, string(r.Name())
	if next := r.Next(); next != '[' && next != 'n' {
		r.wrong("must be an array")
	}
	for i := 0; r.Element(i); i++ {
		r.prefix = before + name + "[" + strconv.Itoa(i) + "]."
		f()
	}
	r.prefix = before
}

// object reads an object with f, which takes one member.
func (r *reader) object(f func(name string)) {
	if r.Next() != '{' {
		r.wrong("must be an object")
	}
	before := r.prefix
	r.prefix += string(r.Name()) + "."
	r.members(f)
	r.prefix = before
}

// entry reads an element of an array that must be an object.
func (r *reader) entry(f func(name string)) {
	if r.Next() != '{' {
		r.wrongAt(r.prefix[:max(len(r.prefix)-1, 0)], "must be an object")
	}
	r.members(f)
}

func (r *reader) members(f func(name string)) {
	for n := 0; r.Member(n); n++ {
		f(string(r.Name()))
	}
}

// text takes a string or null.
func (r *reader) text() string {
	if next := r.Next(); next != '"' && next != 'n' {
		r.wrong("must be a string")
	}
	return r.Text()
}

// texts takes an array of strings.
func (r *reader) texts() (list []string) {
	r.list(func() {
		if r.Next() != '"' {
			r.wrongAt(r.prefix[:len(r.prefix)-1], "must be a string")
		}
		list = append(list, r.Text())
	})
	return list
}

// float takes a number or null.
func (r *reader) float() *float64 {
	null := r.Next() == 'n'
	v, ok := r.Float()
	if null || !ok {
		if !null {
			r.wrong("must be a number")
		}
		return nil
	}
	return &v
}

// integer takes a whole number or null.
func (r *reader) integer() *int64 {
	null := r.Next() == 'n'
	v, ok := r.Int()
	if null || !ok {
		if !null {
			r.wrong("must be a whole number")
		}
		return nil
	}
	return &v
}

// boolean takes true, false or null.
func (r *reader) boolean() *bool {
	null := r.Next() == 'n'
	v, ok := r.Bool()
	if null || !ok {
		if !null {
			r.wrong("must be true or false")
		}
		return nil
	}
	return &v
}

// finish returns the first error.
func (r *reader) finish() error {
	if err := r.End(); err != nil {
		return err
	}
	return r.err
}
