package gemini

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// maxNodes bounds what a schema may grow to when its references are written out.
const maxNodes = 20000

// maxRefs bounds a chain of references.
const maxRefs = 100

// errRecursive is a schema that refers to itself, or that is too large written out: Google's
// Schema cannot say it.
var errRecursive = errors.New("the schema refers to itself")

// cleaner writes a JSON schema as Google's Schema, a part of OpenAPI's: references are written
// out, alternatives with null become nullable, and what Google refuses is said in another way or
// left out. ordered adds propertyOrdering.
type cleaner struct {
	root    *node
	ordered bool
	open    []string // the references that are being written out
	nodes   int
}

// cleanSchema gives Google's Schema of a JSON schema. errRecursive says that there is none, so
// that the schema must be sent as JSON schema.
func cleanSchema(raw json.RawMessage, ordered bool) (*node, error) {
	root, err := parseTree(raw)
	if err != nil {
		return nil, err
	}
	if !root.object {
		return nil, errSchema
	}
	c := cleaner{root: root, ordered: ordered}
	return c.clean(root)
}

// kept are the members that mean the same in both.
var kept = []string{
	"title", "description", "nullable", "default", "minItems", "maxItems", "minProperties", "maxProperties",
	"minLength", "maxLength", "pattern", "minimum", "maximum", "propertyOrdering",
}

func (c *cleaner) clean(n *node) (*node, error) {
	if c.nodes++; c.nodes > maxNodes {
		return nil, errRecursive
	}
	if n == nil || !n.object {
		return anything(), nil // "true", or nothing that can be said
	}
	if ref := n.get("$ref"); ref != nil {
		return c.ref(n, ref.text())
	}
	if all := n.get("allOf"); all != nil && all.array {
		merged, err := c.merge(n, all.list)
		if err != nil {
			return nil, err
		}
		return c.clean(merged)
	}
	for _, name := range []string{"anyOf", "oneOf"} {
		if alt := n.get(name); alt != nil && alt.array && len(alt.list) > 0 {
			return c.alternatives(n, name, alt.list)
		}
	}
	return c.plain(n)
}

// ref writes out a reference, with what stands beside it on top.
func (c *cleaner) ref(n *node, ref string) (*node, error) {
	if slices.Contains(c.open, ref) {
		return nil, errRecursive
	}
	target := c.resolve(ref)
	if target == nil {
		return nil, errors.New("its reference " + strconv.Quote(ref) + " leads nowhere")
	}
	whole := &node{object: true, names: slices.Clone(target.names), list: slices.Clone(target.list)}
	for i, name := range n.names {
		if name != "$ref" && name != "$defs" && name != "definitions" {
			whole.set(name, n.list[i])
		}
	}
	c.open = append(c.open, ref)
	defer func() { c.open = c.open[:len(c.open)-1] }()
	return c.clean(whole)
}

// resolve follows a JSON pointer; nil if it leads to no object.
func (c *cleaner) resolve(ref string) *node {
	rest, ok := strings.CutPrefix(ref, "#")
	if !ok {
		return nil
	}
	n := c.root
	for step := range strings.SplitSeq(strings.TrimPrefix(rest, "/"), "/") {
		switch {
		case rest == "":
		case n != nil && n.array:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(n.list) {
				return nil
			}
			n = n.list[i]
		default:
			n = n.get(strings.NewReplacer("~1", "/", "~0", "~").Replace(step))
		}
	}
	if n == nil || !n.object {
		return nil
	}
	return n
}

// merge joins a schema and what it must be besides: properties and required are put together, of
// other members the first counts.
func (c *cleaner) merge(n *node, all []*node) (*node, error) {
	out := &node{object: true}
	for i, name := range n.names {
		if name != "allOf" {
			out.set(name, n.list[i])
		}
	}
	for _, part := range all {
		depth := 0
		for part != nil && part.get("$ref") != nil {
			ref := part.get("$ref").text()
			if depth++; depth > maxRefs || slices.Contains(c.open, ref) {
				return nil, errRecursive
			}
			if part = c.resolve(ref); part == nil {
				return nil, errors.New("its reference " + strconv.Quote(ref) + " leads nowhere")
			}
		}
		if part == nil || !part.object {
			continue
		}
		for i, name := range part.names {
			joinMember(out, name, part.list[i])
		}
	}
	if c.nodes += len(all); c.nodes > maxNodes {
		return nil, errRecursive
	}
	return out, nil
}

func joinMember(out *node, name string, v *node) {
	have := out.get(name)
	switch {
	case have == nil:
		out.set(name, v)
	case name == "properties" && have.object && v.object:
		joined := &node{object: true, names: slices.Clone(have.names), list: slices.Clone(have.list)}
		for i, p := range v.names {
			joined.set(p, v.list[i])
		}
		out.set(name, joined)
	case (name == "required" || name == "allOf") && have.array && v.array:
		out.set(name, arrayNode(slices.Concat(have.list, v.list)...))
	}
}

// alternatives writes anyOf. Google takes no other member beside it.
func (c *cleaner) alternatives(n *node, name string, list []*node) (*node, error) {
	nullable := n.get("nullable").is("true")
	var out []*node
	for _, alt := range list {
		if alt.get("type").text() == "null" || alt.get("const").is("null") {
			nullable = true
			continue
		}
		beside := besides(n, name, alt)
		clean, err := c.clean(beside)
		if err != nil {
			return nil, err
		}
		out = append(out, clean)
	}
	if len(out) == 0 {
		return &node{object: true, names: []string{"type"}, list: []*node{textNode("NULL")}}, nil
	}
	if nullable {
		for _, o := range out {
			setNullable(o)
		}
	}
	if len(out) == 1 {
		return out[0], nil
	}
	return &node{object: true, names: []string{"anyOf"}, list: []*node{arrayNode(out...)}}, nil
}

// besides is an alternative with what stands beside the alternatives, where it does not say so
// itself.
func besides(n *node, name string, alt *node) *node {
	if alt == nil || !alt.object {
		alt = &node{object: true}
	}
	out := &node{object: true, names: slices.Clone(alt.names), list: slices.Clone(alt.list)}
	for i, m := range n.names {
		if m != name && m != "nullable" && m != "default" && m != "$defs" && m != "definitions" && m != "$schema" && m != "$id" {
			joinMember(out, m, n.list[i])
		}
	}
	return out
}

func setNullable(n *node) {
	if alt := n.get("anyOf"); alt != nil {
		for _, o := range alt.list {
			setNullable(o)
		}
		return
	}
	n.set("nullable", rawNode("true"))
}

// anything is a schema that takes all values as far as Google has words for it.
func anything() *node {
	n := &node{object: true}
	list := arrayNode()
	for _, t := range []string{"STRING", "NUMBER", "BOOLEAN", "OBJECT"} {
		list.list = append(list.list, &node{object: true, names: []string{"type"}, list: []*node{textNode(t)}})
	}
	n.set("anyOf", list)
	return n
}

// plain writes a schema of one type.
func (c *cleaner) plain(n *node) (*node, error) {
	types, nullable := typesOf(n)
	if len(types) > 1 {
		return c.manyTypes(n, types, nullable)
	}
	if len(types) == 0 {
		if nullable {
			return &node{object: true, names: []string{"type"}, list: []*node{textNode("NULL")}}, nil
		}
		all := anything()
		if d := n.get("description"); d != nil {
			for _, o := range all.get("anyOf").list {
				o.set("description", d)
			}
		}
		return all, nil
	}
	out := &node{object: true}
	out.set("type", textNode(types[0]))
	for _, name := range kept {
		if v := n.get(name); v != nil && fits(name, types[0]) && !v.is("null") {
			out.set(name, v)
		}
	}
	if nullable {
		out.set("nullable", rawNode("true"))
	}
	if f := n.get("format"); f != nil && formats[types[0]+" "+f.text()] {
		out.set("format", f)
	}
	bounds(out, n, types[0])
	choices(out, n, types[0])
	if err := c.elements(out, n, types[0]); err != nil {
		return nil, err
	}
	return out, c.properties(out, n, types[0])
}

// formats are those that Google takes.
var formats = map[string]bool{
	"STRING enum": true, "STRING date-time": true, "NUMBER float": true, "NUMBER double": true, "INTEGER int32": true, "INTEGER int64": true,
}

// fits says whether a member means anything for the type.
func fits(name, typ string) bool {
	switch name {
	case "minItems", "maxItems":
		return typ == "ARRAY"
	case "minProperties", "maxProperties", "propertyOrdering":
		return typ == "OBJECT"
	case "minLength", "maxLength", "pattern":
		return typ == "STRING"
	case "minimum", "maximum":
		return typ == "NUMBER" || typ == "INTEGER"
	}
	return true
}

// manyTypes writes a list of types as alternatives.
func (c *cleaner) manyTypes(n *node, types []string, nullable bool) (*node, error) {
	list := arrayNode()
	for _, t := range types {
		one := &node{object: true, names: slices.Clone(n.names), list: slices.Clone(n.list)}
		one.set("type", textNode(t))
		one.drop("default")
		clean, err := c.clean(one)
		if err != nil {
			return nil, err
		}
		if nullable {
			setNullable(clean)
		}
		list.list = append(list.list, clean)
	}
	return &node{object: true, names: []string{"anyOf"}, list: []*node{list}}, nil
}

// typesOf lists the types that a schema names, or that follow from its members, in Google's
// spelling and without null.
func typesOf(n *node) (types []string, nullable bool) {
	nullable = n.get("nullable").is("true")
	named := n.get("type")
	switch {
	case named == nil:
		return impliedType(n), nullable
	case !named.array:
		named = arrayNode(named)
	}
	for _, t := range named.list {
		switch name := strings.ToUpper(t.text()); name {
		case "NULL":
			nullable = true
		case "":
		default:
			types = append(types, name)
		}
	}
	return types, nullable
}

func impliedType(n *node) []string {
	switch {
	case n.get("properties") != nil, n.get("additionalProperties") != nil, n.get("required") != nil:
		return []string{"OBJECT"}
	case n.get("items") != nil, n.get("prefixItems") != nil:
		return []string{"ARRAY"}
	case n.get("pattern") != nil, n.get("minLength") != nil, n.get("maxLength") != nil, n.get("format") != nil:
		return []string{"STRING"}
	case n.get("minimum") != nil, n.get("maximum") != nil:
		return []string{"NUMBER"}
	}
	values := n.get("enum")
	if v := n.get("const"); v != nil {
		values = arrayNode(v)
	}
	if values == nil || len(values.list) == 0 {
		return nil
	}
	var types []string
	for _, v := range values.list {
		if t := typeOfValue(v); t != "" && !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	return types
}

func typeOfValue(v *node) string {
	switch {
	case v.object:
		return "OBJECT"
	case v.array:
		return "ARRAY"
	case v.is("true"), v.is("false"):
		return "BOOLEAN"
	case v.is("null"):
		return ""
	case v.raw[0] == '"':
		return "STRING"
	case strings.ContainsAny(string(v.raw), ".eE"):
		return "NUMBER"
	}
	return "INTEGER"
}

// bounds writes exclusive bounds as inclusive ones: of whole numbers the next, of others the same.
func bounds(out, n *node, typ string) {
	if typ != "NUMBER" && typ != "INTEGER" {
		return
	}
	for _, b := range []struct {
		name, as string
		step     int64
	}{{"exclusiveMinimum", "minimum", 1}, {"exclusiveMaximum", "maximum", -1}} {
		v := n.get(b.name)
		if v == nil || len(v.raw) == 0 || v.raw[0] == 't' || v.raw[0] == 'f' || v.raw[0] == '"' {
			continue
		}
		if whole, err := strconv.ParseInt(string(v.raw), 10, 64); err == nil && typ == "INTEGER" {
			v = rawNode(strconv.FormatInt(whole+b.step, 10))
		}
		if out.get(b.as) == nil {
			out.set(b.as, v)
		}
	}
}

// choices writes enum and const. Google takes them of texts only: of numbers a single one becomes
// its bounds, and others are told in the description.
func choices(out, n *node, typ string) { //nolint:gocyclo // one table of cases
	values := n.get("enum")
	if v := n.get("const"); v != nil {
		values = arrayNode(v)
	}
	if values == nil || !values.array {
		return
	}
	var list []*node
	for _, v := range values.list {
		switch {
		case v.is("null"):
			out.set("nullable", rawNode("true"))
		case typeOfValue(v) == typ && !v.is(`""`), typ == "NUMBER" && typeOfValue(v) == "INTEGER":
			list = append(list, v)
		}
	}
	switch {
	case len(list) == 0:
	case typ == "STRING":
		out.set("enum", arrayNode(list...))
		if f := out.get("format"); f != nil && f.text() != "enum" {
			out.drop("format")
		}
	case len(list) == 1 && (typ == "INTEGER" || typ == "NUMBER"):
		out.set("minimum", list[0])
		out.set("maximum", list[0])
	default:
		text := "One of: " + string(arrayNode(list...).append(nil))
		if d := out.get("description").text(); d != "" {
			text = d + " " + text
		}
		out.set("description", textNode(text))
	}
}

// elements writes the items of an array, without which Google takes none.
func (c *cleaner) elements(out, n *node, typ string) error {
	if typ != "ARRAY" {
		return nil
	}
	items := n.get("items")
	if tuple := n.get("prefixItems"); tuple != nil && tuple.array && len(tuple.list) > 0 {
		items = tuple
	}
	if items != nil && items.array {
		if len(items.list) == 1 {
			items = items.list[0]
		} else {
			items = &node{object: true, names: []string{"anyOf"}, list: []*node{items}}
		}
	}
	clean, err := c.clean(items)
	if err != nil {
		return err
	}
	out.set("items", clean)
	return nil
}

// properties writes those of an object, and of the required ones those that there are.
func (c *cleaner) properties(out, n *node, typ string) error {
	props := n.get("properties")
	if typ != "OBJECT" || props == nil || !props.object || len(props.names) == 0 {
		return nil
	}
	clean, order := &node{object: true}, arrayNode()
	have := make(map[string]bool, len(props.names))
	for i, name := range props.names {
		p, err := c.clean(props.list[i])
		if err != nil {
			return err
		}
		if have[name] {
			continue
		}
		have[name] = true
		clean.names, clean.list = append(clean.names, name), append(clean.list, p)
		order.list = append(order.list, textNode(name))
	}
	out.set("properties", clean)
	if req := n.get("required"); req != nil && req.array {
		list := arrayNode()
		for _, r := range req.list {
			if name := r.text(); have[name] {
				list.list = append(list.list, r)
				have[name] = false
			}
		}
		if len(list.list) > 0 {
			out.set("required", list)
		}
	}
	if c.ordered && out.get("propertyOrdering") == nil {
		out.set("propertyOrdering", order)
	}
	return nil
}
