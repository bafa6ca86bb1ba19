package prompt

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/conclave-llm/conclave/llm"
)

// document is a JSON object whose members keep their order.
type document struct{ members []member }

type member struct {
	name string
	raw  json.RawMessage
}

// read reads an object.
func read(body []byte) (*document, error) {
	d := new(document)
	if len(body) == 0 {
		return d, nil
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	open, err := dec.Token()
	if err != nil || open != json.Delim('{') {
		return nil, notObject(err)
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, notObject(err)
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, notObject(err)
		}
		d.members = append(d.members, member{name.(string), raw}) // More has seen a name
	}
	return d, nil
}

func notObject(err error) error {
	return &llm.Error{Kind: llm.Invalid, Code: "invalid_json", Message: "The request body is not a JSON object.", Err: err}
}

// get is a member's value, nil for none or null.
func (d *document) get(name string) json.RawMessage {
	for _, m := range d.members {
		if m.name == name && string(m.raw) != "null" {
			return m.raw
		}
	}
	return nil
}

// take is get, and takes the member out.
func (d *document) take(name string) json.RawMessage {
	raw := d.get(name)
	d.members = slices.DeleteFunc(d.members, func(m member) bool { return m.name == name })
	return raw
}

// set replaces a member, or adds it.
func (d *document) set(name string, raw json.RawMessage) {
	for i := range d.members {
		if d.members[i].name == name {
			d.members[i].raw = raw
			return
		}
	}
	d.members = append(d.members, member{name, raw})
}

// bytes is the object in JSON.
func (d *document) bytes() []byte {
	size := 2
	for _, m := range d.members {
		size += len(m.name) + len(m.raw) + 4
	}
	b := append(make([]byte, 0, size), '{')
	for _, m := range d.members {
		b = llm.AppendKey(b, m.name)
		b = append(b, m.raw...)
	}
	return append(b, '}')
}
