package openai

import (
	"strconv"

	"github.com/conclave-llm/conclave/llm"
)

// reader reads a client's request. It keeps the first thing that is wrong with it, and where.
type reader struct {
	llm.Cursor
	prefix string // of the names of what is read: "messages[2]."
	err    error
}

// wrong notes what is wrong with the member that was read last.
func (r *reader) wrong(what string) { r.wrongAt(r.prefix+string(r.Name()), what) }

func (r *reader) wrongAt(param, what string) {
	if r.err == nil && r.Err() == nil {
		r.err = invalid(param, what)
	}
}

// invalid makes the error of a field with a wrong value.
func invalid(param, what string) error {
	return &llm.Error{
		Kind: llm.Invalid, Code: "invalid_value", Param: param,
		Message: "Invalid value for " + strconv.Quote(param) + ": " + what + ".",
	}
}

// within reads with f what stands below the member that was read last.
func (r *reader) within(f func()) {
	before := r.prefix
	r.prefix += string(r.Name()) + "."
	f()
	r.prefix = before
}

// list reads an array with f, which takes one element. A value that is no array is an error,
// but for null.
func (r *reader) list(f func(i int)) {
	before, name := r.prefix, string(r.Name())
	if next := r.Next(); next != '[' && next != 'n' {
		r.wrong("must be an array")
	}
	for i := 0; r.Element(i); i++ {
		r.prefix = before + name + "[" + strconv.Itoa(i) + "]."
		f(i)
	}
	r.prefix = before
}

// object reads an object with f, which takes one member.
func (r *reader) object(f func(name string)) {
	if next := r.Next(); next != '{' && next != 'n' {
		r.wrong("must be an object")
	}
	r.within(func() { r.members(f) })
}

// entry reads an element of an array that must be an object.
func (r *reader) entry(f func(name string)) {
	if r.Next() != '{' {
		r.wrongAt(r.prefix[:len(r.prefix)-1], "must be an object")
	}
	r.members(f)
}

// members reads the members of an object with f.
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

// texts takes a string or an array of strings.
func (r *reader) texts() (list []string) {
	if r.Next() == '"' {
		return []string{r.Text()}
	}
	r.list(func(int) {
		if r.Next() != '"' {
			r.wrongAt(r.prefix[:len(r.prefix)-1], "must be a string")
		}
		list = append(list, r.Text())
	})
	return list
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

func (r *reader) isTrue() bool { v := r.boolean(); return v != nil && *v }

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

// count takes a whole number that is not negative, or null, which is 0.
func (r *reader) count() int64 {
	v := r.integer()
	if v == nil {
		return 0
	}
	if *v < 0 || *v > llm.MaxTokenCount {
		r.wrong("must be a whole number within bounds")
		return 0
	}
	return *v
}

// finish returns the first error.
func (r *reader) finish() error {
	if err := r.End(); err != nil {
		return err
	}
	return r.err
}
