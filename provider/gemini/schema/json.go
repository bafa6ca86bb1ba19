package schema

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// JSON is the JSON schema of Google's Schema.
func JSON(raw json.RawMessage) (json.RawMessage, error) {
	n, err := parse(raw)
	if err != nil {
		return nil, err
	}
	if !n.object {
		return nil, errNone
	}
	return jsonSchema(n).append(nil), nil
}

// jsonSchema writes one schema. Names may be in either spelling, types in either case.
func jsonSchema(n *node) *node {
	if n == nil || !n.object {
		return n
	}
	out := &node{object: true}
	for i, name := range n.names {
		v := n.list[i]
		switch name = CamelCase(name); name {
		case "type":
			if t := strings.ToLower(v.text()); t != "type_unspecified" {
				out.add("type", textNode(t))
			}
		case "nullable", "propertyOrdering", "example":
		case "properties":
			out.add(name, jsonProperties(v, orderOf(n)))
		case "items", "additionalProperties":
			out.add(name, jsonSchema(v))
		case "anyOf":
			list := arrayNode()
			for _, e := range v.list {
				list.list = append(list.list, jsonSchema(e))
			}
			out.add(name, list)
		case "minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties":
			if n, err := strconv.ParseInt(strings.Trim(string(v.raw), `"`), 10, 64); err == nil { // an int64, which may be a string
				out.add(name, rawNode(strconv.FormatInt(n, 10)))
			}
		default:
			out.add(name, v)
		}
	}
	if n.get("nullable").is("true") {
		allowNull(out)
	}
	return out
}

// maxOrder bounds an order that is followed.
const maxOrder = 1000

// orderOf is the propertyOrdering.
func orderOf(n *node) []string {
	order := n.get("propertyOrdering")
	if order == nil {
		order = n.get("property_ordering")
	}
	if order == nil || len(order.list) > maxOrder {
		return nil
	}
	list := make([]string, len(order.list))
	for i, e := range order.list {
		list[i] = e.text()
	}
	return list
}

// jsonProperties writes properties, those of order first.
func jsonProperties(n *node, order []string) *node {
	if !n.object {
		return n
	}
	out := &node{object: true}
	add := func(name string, v *node) {
		out.names, out.list = append(out.names, name), append(out.list, jsonSchema(v))
	}
	for _, name := range order {
		if v := n.get(name); v != nil && !slices.Contains(out.names, name) {
			add(name, v)
		}
	}
	first := make(map[string]bool, len(out.names))
	for _, name := range out.names {
		first[name] = true
	}
	for i, name := range n.names {
		if !first[name] {
			add(name, n.list[i])
		}
	}
	return out
}

// allowNull adds null to what a schema takes.
func allowNull(n *node) {
	null := textNode("null")
	if t := n.get("type"); t != nil {
		n.set("type", arrayNode(t, null))
		if e := n.get("enum"); e != nil && e.array {
			n.set("enum", arrayNode(append(slices.Clone(e.list), rawNode("null"))...))
		}
		return
	}
	if alt := n.get("anyOf"); alt != nil {
		alt.list = append(alt.list, &node{object: true, names: []string{"type"}, list: []*node{null}})
	}
}

// CamelCase is a name in snake_case as Google's documents have it; Google takes both. An underscore at
// the beginning stays.
func CamelCase(name string) string {
	if len(name) < 2 || strings.IndexByte(name[1:], '_') < 0 {
		return name
	}
	out := make([]byte, 0, len(name))
	for i := 0; i < len(name); i++ {
		if name[i] == '_' && i > 0 && i+1 < len(name) {
			i++
			out = append(out, strings.ToUpper(name[i:i+1])...)
			continue
		}
		out = append(out, name[i])
	}
	return string(out)
}
