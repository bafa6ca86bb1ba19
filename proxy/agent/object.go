package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"

	"github.com/conclave-llm/conclave/llm"
)

// object is a JSON object whose members are kept as they came.
type object map[string]json.RawMessage

// readObject reads an object; anything else is an error.
func readObject(raw []byte) (object, error) {
	var o object
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, err
	}
	if o == nil {
		return nil, errors.New("it is null and no object")
	}
	return o, nil
}

// text is a member that is a string, "" for any other.
func (o object) text(name string) string {
	var s string
	if json.Unmarshal(o[name], &s) != nil {
		return ""
	}
	return s
}

// child is a member that is an object, nil for any other.
func (o object) child(name string) object {
	c, err := readObject(o[name])
	if err != nil {
		return nil
	}
	return c
}

// list is a member that is an array, nil for any other.
func (o object) list(name string) []json.RawMessage { return elements(o[name]) }

// has says whether a member is there and not null.
func (o object) has(name string) bool { return len(o[name]) > 0 && string(o[name]) != "null" }

// set gives a member a value, which must be one that can be encoded.
func (o object) set(name string, v any) object {
	o[name] = encode(v)
	return o
}

// elements are those of an array, nil if it is none.
func elements(raw json.RawMessage) (all []json.RawMessage) {
	if json.Unmarshal(raw, &all) != nil {
		return nil
	}
	return all
}

// encode writes a value that was made of JSON and texts, which cannot fail.
func encode(v any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("agent: " + err.Error())
	}
	return bytes.TrimSpace(b.Bytes())
}

// quoted is a text as JSON.
func quoted(s string) json.RawMessage { return llm.AppendString(nil, s) }

// addUp adds the numbers of two objects, member by member, as far as there are any; other values
// are the later's.
func addUp(before, now json.RawMessage) json.RawMessage {
	if len(before) == 0 || string(before) == "null" {
		return now
	}
	if len(now) == 0 || string(now) == "null" {
		return before
	}
	a, err := readObject(before)
	b, err2 := readObject(now)
	if err == nil && err2 == nil {
		for name, v := range b {
			a[name] = addUp(a[name], v)
		}
		return encode(a)
	}
	var x, y json.Number
	if json.Unmarshal(before, &x) != nil || json.Unmarshal(now, &y) != nil || before[0] == '"' || now[0] == '"' {
		return now
	}
	if m, err := x.Int64(); err == nil {
		if n, err := y.Int64(); err == nil {
			return encode(m + n)
		}
	}
	m, _ := x.Float64()
	n, _ := y.Float64()
	return encode(m + n)
}

// overlay is an object with the members of another in the place of its own.
func overlay(under, over json.RawMessage) json.RawMessage {
	a, err := readObject(under)
	if err != nil {
		return over
	}
	b, err := readObject(over)
	if err != nil {
		return under
	}
	maps.Copy(a, b)
	return encode(a)
}
