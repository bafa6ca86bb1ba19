// Package shape reads JSON into Go values and says of what does not fit in which field it stands, what it is and what
// may stand there. It takes what encoding/json takes.
package shape

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Error is the first thing that does not fit.
type Error struct {
	Field  string // path as in JSON, "sinks[0].path"; "": the value itself
	Reason string // what is wrong and what may stand there
}

// Error implements error.
func (e *Error) Error() string { return strings.TrimPrefix(e.Field+": "+e.Reason, ": ") }

// Read reads a value into what into points to, and skips fields that that does not have. Its errors are *Error.
func Read(v []byte, into any) error { return read(v, into, check{}) }

// ReadKnown is Read of a value that may have no other fields than into has.
func ReadKnown(v []byte, into any) error { return read(v, into, check{known: true}) }

func read(v []byte, into any, c check) error {
	dec := json.NewDecoder(bytes.NewReader(v))
	if c.known {
		dec.DisallowUnknownFields()
	}
	err := dec.Decode(into)
	if err == nil {
		return nil
	}
	if !json.Valid(v) {
		return &Error{Reason: "is not JSON"}
	}
	if e := c.value("", v, reflect.TypeOf(into).Elem()); e != nil {
		return e
	}
	return &Error{Reason: reasonOf(err)}
}

// check finds what of a value does not fit a type.
type check struct{ known bool } // there may be no field that a type does not have

var (
	reader     = reflect.TypeFor[json.Unmarshaler]()
	textReader = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// value compares a value, which is JSON, with a type.
func (c check) value(field string, v json.RawMessage, t reflect.Type) *Error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if p := reflect.PointerTo(t); !p.Implements(reader) && !p.Implements(textReader) {
		switch t.Kind() {
		case reflect.Struct:
			return c.object(field, v, t)
		case reflect.Map:
			return c.entries(field, v, t)
		case reflect.Slice:
			return c.list(field, v, t)
		}
	}
	if err := json.Unmarshal(v, reflect.New(t).Interface()); err != nil {
		if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return wrong(field, "%.100s is not %s", v, nameOf(t))
		}
		return wrong(field, "%s", reasonOf(err))
	}
	return nil
}

func (c check) object(field string, v json.RawMessage, t reflect.Type) *Error {
	var members map[string]json.RawMessage
	fields := fieldsOf(t)
	names := slices.Sorted(maps.Keys(fields))
	if json.Unmarshal(v, &members) != nil {
		return wrong(field, "%.100s is not an object with %s", v, strings.Join(names, ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		typ, ok := fields[name]
		for i := 0; !ok && i < len(names); i++ {
			if strings.EqualFold(names[i], name) {
				typ, ok = fields[names[i]], true
			}
		}
		if !ok && c.known {
			return wrong(within(field, name), "there is no such field; there are %s", strings.Join(names, ", "))
		}
		if !ok {
			continue
		}
		if e := c.value(within(field, name), members[name], typ); e != nil {
			return e
		}
	}
	return nil
}

func (c check) entries(field string, v json.RawMessage, t reflect.Type) *Error {
	var members map[string]json.RawMessage
	if json.Unmarshal(v, &members) != nil {
		return wrong(field, "%.100s is not an object", v)
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if e := c.value(within(field, name), members[name], t.Elem()); e != nil {
			return e
		}
	}
	return nil
}

func (c check) list(field string, v json.RawMessage, t reflect.Type) *Error {
	var items []json.RawMessage
	if json.Unmarshal(v, &items) != nil {
		return wrong(field, "%.100s is not a list", v)
	}
	for i, item := range items {
		if e := c.value(fmt.Sprintf("%s[%d]", field, i), item, t.Elem()); e != nil {
			return e
		}
	}
	return nil
}

// fieldsOf are the fields of a struct by their names in JSON, those of embedded structs among them.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	all := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case !f.IsExported() || tag == "-" || f.Anonymous && tag == "":
		case tag == "":
			all[f.Name] = f.Type
		default:
			all[tag] = f.Type
		}
	}
	return all
}

// nameOf is what values of a type are called.
func nameOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	}
	return "what may stand there"
}

// reasonOf is an error without the decoder's own name.
func reasonOf(err error) string { return strings.TrimPrefix(err.Error(), "json: ") }

func within(field, name string) string {
	if field == "" {
		return name
	}
	return field + "." + name
}

func wrong(field, format string, args ...any) *Error {
	return &Error{Field: field, Reason: fmt.Sprintf(format, args...)}
}
