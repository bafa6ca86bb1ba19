package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxDepth is how deep references are followed; what is deeper may be any value.
const maxDepth = 8

// maxNodes bounds the values of one tool's schemas: a few references can name very many.
const maxNodes = 4096

// resolver follows references within one document; it follows no others.
type resolver struct {
	root  any
	nodes int // of the schema that is being made
}

// resolve reads an object, or the one that it refers to.
func (r *resolver) resolve(raw json.RawMessage) (map[string]any, error) {
	var v map[string]any
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, err
	}
	for range maxDepth {
		ref, ok := v["$ref"].(string)
		if !ok {
			return v, nil
		}
		if v = r.at(ref); v == nil {
			return nil, fmt.Errorf("there is no %.200q in the document", ref)
		}
	}
	return nil, fmt.Errorf("references lead to references")
}

// at is the object that a reference names, nil for none.
func (r *resolver) at(ref string) map[string]any {
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil
	}
	v := r.root
	for part := range strings.SplitSeq(path, "/") {
		o, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = o[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]
	}
	o, _ := v.(map[string]any)
	return o
}

// inline is a schema with what it refers to in its place.
func (r *resolver) inline(v map[string]any, depth int) map[string]any {
	if depth == 0 {
		r.nodes = 0
	}
	for range maxDepth {
		ref, ok := v["$ref"].(string)
		if !ok {
			break
		}
		v = r.at(ref)
		depth++
	}
	out := map[string]any{}
	if _, still := v["$ref"]; still || depth > maxDepth {
		return out // any value
	}
	for _, name := range slices.Sorted(maps.Keys(v)) {
		switch name {
		case "example", "examples", "xml", "externalDocs", "discriminator", "deprecated":
			continue // nothing of it binds a caller
		}
		out[name] = r.value(v[name], depth+1)
	}
	if out["nullable"] == true { // OpenAPI 3.0's word
		delete(out, "nullable")
		if kind, ok := out["type"].(string); ok {
			out["type"] = []any{kind, "null"}
		}
	}
	return out
}

func (r *resolver) value(v any, depth int) any {
	if r.nodes++; r.nodes > maxNodes {
		return map[string]any{}
	}
	switch v := v.(type) {
	case map[string]any:
		return r.inline(v, depth)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = r.value(v[i], depth)
		}
		return out
	}
	return v
}

// schema is that of a tool's arguments.
type schema struct {
	properties map[string]any
	required   []string
}

func newSchema() *schema { return &schema{properties: map[string]any{}} }

func (s *schema) has(name string) bool { return s.properties[name] != nil }

func (s *schema) add(name string, of map[string]any, required bool) {
	s.properties[name] = of
	if required {
		s.required = append(s.required, name)
	}
}

// bytes writes the schema. One that is too large only names the arguments.
func (s *schema) bytes() json.RawMessage {
	write := func() json.RawMessage {
		o := map[string]any{"type": "object", "properties": s.properties}
		if len(s.required) > 0 {
			o["required"] = s.required
		}
		b, err := json.Marshal(o)
		if err != nil {
			return json.RawMessage(`{"type":"object"}`) // it was read from JSON
		}
		return b
	}
	b := write()
	if len(b) > maxSchema {
		for name := range s.properties {
			s.properties[name] = map[string]any{}
		}
		b = write()
	}
	return b
}
