package stored

import (
	"encoding/json"
	"slices"

	"github.com/conclave-llm/conclave/llm"
)

// asked is what a request says that has to do with storing.
type asked struct {
	previous string
	store    *bool
	input    []byte // nil: there is none

	background bool
}

// names of the members that are read; two of one name in a body are refused.
const (
	memberPrevious   = "previous_response_id"
	memberStore      = "store"
	memberBackground = "background"
	memberInput      = "input"
)

// readAsked reads a request, whose syntax was checked.
func readAsked(body []byte) (a asked, err error) {
	c := llm.NewCursor(body)
	var seen []string
	for n := 0; c.Member(n); n++ {
		name := string(c.Name())
		switch name {
		case memberPrevious, memberStore, memberBackground, memberInput:
		default:
			c.Raw()
			continue
		}
		if slices.Contains(seen, name) {
			return a, invalid(name, "stands twice in the request")
		}
		seen = append(seen, name)
		if err := a.member(name, c.Raw()); err != nil {
			return a, err
		}
	}
	return a, c.Err()
}

func (a *asked) member(name string, raw []byte) error {
	if string(raw) == "null" {
		return nil
	}
	v := llm.NewCursor(raw)
	switch name {
	case memberInput:
		a.input = raw
	case memberPrevious:
		if len(raw) == 0 || raw[0] != '"' {
			return invalid(name, "must be a string")
		}
		a.previous = v.Text()
	case memberStore:
		on, ok := v.Bool()
		if !ok {
			return invalid(name, "must be true or false")
		}
		a.store = &on
	case memberBackground:
		on, ok := v.Bool()
		if !ok {
			return invalid(name, "must be true or false")
		}
		a.background = on
	}
	return nil
}

func invalid(name, what string) error {
	return &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: name, Message: "The field \"" + name + "\" " + what + "."}
}

// items are the elements of an input, which may be a text.
func items(input []byte) (list []json.RawMessage) {
	if len(input) == 0 {
		return nil
	}
	if input[0] == '"' {
		b := append([]byte(`{"type":"message","role":"user","content":[{"type":"input_text","text":`), input...)
		return []json.RawMessage{append(b, "}]}"...)}
	}
	c := llm.NewCursor(input)
	for n := 0; c.Element(n); n++ {
		list = append(list, c.Raw())
	}
	return list
}

// inputOf is the input of a request.
func inputOf(body []byte) []byte {
	c := llm.NewCursor(body)
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) == memberInput {
			return c.Raw()
		}
		c.Raw()
	}
	return nil
}

// expand is the request with what came before in front of its input, in the place of the id.
func expand(body []byte, before []json.RawMessage, input []byte) []byte {
	size := len(body)
	for _, it := range before {
		size += len(it) + 1
	}
	b := append(make([]byte, 0, size+64), '{')
	c := llm.NewCursor(body)
	for n := 0; c.Member(n); n++ {
		name, raw := string(c.Name()), c.Raw()
		if name != memberPrevious && name != memberInput {
			b = append(key(b, name), raw...)
		}
	}
	b = append(key(b, memberInput), '[')
	for _, it := range before {
		b = append(llm.AppendComma(b), it...)
	}
	for _, it := range items(input) {
		b = append(llm.AppendComma(b), it...)
	}
	return append(b, "]}"...)
}

// key appends the name of a member, which may need escapes.
func key(b []byte, name string) []byte {
	return append(llm.AppendString(llm.AppendComma(b), name), ':')
}

// with is an object with a member's value replaced, or added.
func with(object []byte, set []llm.Member) []byte {
	b := append(make([]byte, 0, len(object)+256), '{')
	done := make([]bool, len(set))
	c := llm.NewCursor(object)
	for n := 0; c.Member(n); n++ {
		name, raw := string(c.Name()), c.Raw()
		if i := slices.IndexFunc(set, func(m llm.Member) bool { return m.Name == name }); i >= 0 {
			raw, done[i] = set[i].Value, true
		}
		b = append(key(b, name), raw...)
	}
	for i, m := range set {
		if !done[i] {
			b = append(key(b, m.Name), m.Value...)
		}
	}
	return append(b, '}')
}

// history are the turns as items of an input. Reasoning goes only back to the model that it came
// from, and only if it can be opened there: without its sealed contents an id says nothing.
func history(turns []*turn, model string) (list []json.RawMessage) {
	for _, t := range turns {
		list = append(list, t.Input...)
		for _, made := range outputOf(t.Response) {
			if it := sentBack(made, t.Model == model); it != nil {
				list = append(list, it)
			}
		}
	}
	return list
}

// sentBack is an item of an output as one of an input; nil: it does not go back.
func sentBack(it []byte, sameModel bool) []byte {
	kind, sealed := "", false
	c := llm.NewCursor(it)
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "type":
			kind = c.Text()
		case "encrypted_content":
			sealed = c.Text() != ""
		default:
			c.Raw()
		}
	}
	switch kind {
	case "reasoning":
		if !sealed || !sameModel {
			return nil
		}
	case "message", "function_call", "custom_tool_call":
		return without(it, "id", "status") // a provider might look the id up
	}
	return it
}

// without is an object without some members.
func without(object []byte, names ...string) []byte {
	b := append(make([]byte, 0, len(object)), '{')
	c := llm.NewCursor(object)
	for n := 0; c.Member(n); n++ {
		name, raw := string(c.Name()), c.Raw()
		if !slices.Contains(names, name) {
			b = append(key(b, name), raw...)
		}
	}
	return append(b, '}')
}
