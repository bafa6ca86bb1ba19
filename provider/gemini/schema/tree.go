// Package schema says JSON schemas in the words of Google's Schema, a part of OpenAPI's, and the
// other way.
package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"

	"github.com/conclave-llm/conclave/llm"
)

// node is a JSON value whose members keep their order: the order of a schema's properties is
// the order in which the model writes them.
type node struct {
	object bool
	array  bool
	names  []string
	list   []*node         // the values of names, or the elements
	raw    json.RawMessage // of any other value
}

var errNone = errors.New("it is not a JSON schema")

// parse reads a value.
func parse(raw json.RawMessage) (*node, error) {
	if !json.Valid(raw) {
		return nil, errNone
	}
	s := llm.NewCursor(raw)
	n := tree(&s)
	if s.End() != nil {
		return nil, errNone
	}
	return n, nil
}

func tree(s *llm.Cursor) *node {
	n := new(node)
	switch s.Next() {
	case '{':
		n.object = true
		for i := 0; s.Member(i); i++ {
			name := string(s.Name())
			n.add(name, tree(s))
		}
	case '[':
		n.array = true
		for i := 0; s.Element(i); i++ {
			n.list = append(n.list, tree(s))
		}
	default:
		n.raw = bytes.Clone(s.Raw())
	}
	return n
}

// get is the member of the name, nil if there is none.
func (n *node) get(name string) *node {
	if n == nil || !n.object {
		return nil
	}
	if i := slices.Index(n.names, name); i >= 0 {
		return n.list[i]
	}
	return nil
}

// add appends a member that is not there.
func (n *node) add(name string, v *node) { n.names, n.list = append(n.names, name), append(n.list, v) }

// set replaces a member, or appends it.
func (n *node) set(name string, v *node) {
	if i := slices.Index(n.names, name); i >= 0 {
		n.list[i] = v
		return
	}
	n.names, n.list = append(n.names, name), append(n.list, v)
}

func (n *node) drop(name string) {
	if i := slices.Index(n.names, name); i >= 0 {
		n.names, n.list = slices.Delete(n.names, i, i+1), slices.Delete(n.list, i, i+1)
	}
}

// text is the text of a string, "" for any other value.
func (n *node) text() string {
	if n == nil {
		return ""
	}
	return unquote(n.raw)
}

func (n *node) is(word string) bool { return n != nil && string(n.raw) == word }

func textNode(s string) *node { return &node{raw: llm.AppendString(nil, s)} }

func rawNode(s string) *node { return &node{raw: json.RawMessage(s)} }

func arrayNode(list ...*node) *node { return &node{array: true, list: list} }

// append writes the value.
func (n *node) append(dst []byte) []byte {
	switch {
	case n.object:
		for i, name := range n.names {
			dst = append(dst, "{,"[min(i, 1)])
			dst = append(llm.AppendString(dst, name), ':')
			dst = n.list[i].append(dst)
		}
		if len(n.names) == 0 {
			dst = append(dst, '{')
		}
		return append(dst, '}')
	case n.array:
		dst = append(dst, '[')
		for i, e := range n.list {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = e.append(dst)
		}
		return append(dst, ']')
	}
	return append(dst, n.raw...)
}

// unquote gives the text of a JSON string; "" for any other value.
func unquote(v []byte) string {
	c := llm.NewCursor(v)
	return c.Text()
}
