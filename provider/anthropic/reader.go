package anthropic

import (
	"strconv"

	"github.com/conclave-llm/conclave/llm"
)

// reader reads a request and keeps the first thing that is wrong with it.
type reader struct {
	llm.Cursor
	at  string // where the cursor's value stands, with a dot at the end: "messages.3.content.0."
	err error
}

// within returns a reader of a value that stands at the place.
func (r *reader) within(raw []byte, place string) *reader {
	return &reader{Cursor: llm.NewCursor(raw), at: r.at + place + "."}
}

// element is the place of the element n of a list.
func element(list string, n int) string { return list + "." + strconv.Itoa(n) }

// fail notes that a field is wrong.
func (r *reader) fail(field, what string) {
	if r.err != nil {
		return
	}
	param := r.at + field
	r.err = &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: param, Message: param + ": " + what + "."}
}

// join takes over what was wrong inside.
func (r *reader) join(inner *reader) {
	if r.err == nil {
		r.err = inner.err
	}
}

// null takes a null, if there is one.
func (r *reader) null() bool {
	if r.Next() != 'n' {
		return false
	}
	r.Raw()
	return true
}

// text takes a string; null is "".
func (r *reader) text(field string) string {
	if r.null() {
		return ""
	}
	if r.Next() != '"' {
		r.fail(field, "must be a string")
	}
	return r.Text()
}

// shared takes a string, which is no copy if it is long.
func (r *reader) shared(field string) string {
	if r.Next() != '"' {
		return r.text(field)
	}
	return r.Shared()
}

// number takes a number; nil for null.
func (r *reader) number(field string) *float64 {
	if r.null() {
		return nil
	}
	f, ok := r.Float()
	if !ok {
		r.fail(field, "must be a number")
		return nil
	}
	return &f
}

// whole takes a whole number from least on; nil for null.
func (r *reader) whole(field string, least int64) *int64 {
	if r.null() {
		return nil
	}
	n, ok := r.Int()
	if !ok || n < least || n > llm.MaxTokenCount {
		r.fail(field, "must be a whole number, at least "+strconv.FormatInt(least, 10))
		return nil
	}
	return &n
}

// boolean takes true or false; nil for null.
func (r *reader) boolean(field string) *bool {
	if r.null() {
		return nil
	}
	v, ok := r.Bool()
	if !ok {
		r.fail(field, "must be true or false")
		return nil
	}
	return &v
}

// object says whether an object comes. It takes a null, and anything else, which is wrong.
func (r *reader) object(field string) bool { return r.opens('{', field, "must be an object") }

// list says whether an array comes. It takes a null, and anything else, which is wrong.
func (r *reader) list(field string) bool { return r.opens('[', field, "must be an array") }

func (r *reader) opens(open byte, field, what string) bool {
	if r.Next() == open {
		return true
	}
	if !r.null() {
		r.fail(field, what)
		r.Raw()
	}
	return false
}

// strings takes an array of strings.
func (r *reader) strings(field string) (list []string) {
	if !r.list(field) {
		return nil
	}
	for n := 0; r.Element(n); n++ {
		list = append(list, r.text(element(field, n)))
	}
	return list
}

// raw takes an object and returns a copy of its bytes; nil for null.
func (r *reader) raw(field string) []byte {
	if !r.object(field) {
		return nil
	}
	return r.Copy()
}
