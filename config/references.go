package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/conclave-llm/conclave/resource"
)

// Undefined reports the references to variables, env://NAME and os.environ/NAME, in secrets and in the configurations of plugins, that
// no node could follow: the file's environment does not have the name, and neither has the cluster, or, where no cluster is known, the
// environment of this process. literal is where each name stands so in the file, by name.
func (s *Source) Undefined(r *Resources, literal map[string][]hcl.Range, report func(at hcl.Range, summary, format string, args ...any)) {
	for name, at := range r.references() {
		if _, ok := r.Environment[name]; ok || s.nodes(name) {
			continue
		}
		where := literal[name]
		if len(where) == 0 { // a variable that a plugin of LiteLLM's reads, unless it is told otherwise
			where = []hcl.Range{{Filename: at.File, Start: hcl.Pos{Line: at.Line, Column: at.Column}, End: hcl.Pos{Line: at.Line, Column: at.Column}}}
		}
		for _, at := range where {
			report(at, "Undefined variable", "%s.", s.nowhere(name))
		}
	}
}

// nodes says whether the nodes have a variable of the name.
func (s *Source) nodes(name string) bool {
	if s.Known != nil {
		return s.Known(name)
	}
	v, ok := s.Env(name)
	return ok && v != ""
}

func (s *Source) nowhere(name string) string {
	if s.Known == nil {
		return fmt.Sprintf("The variable %s is defined neither by this file's environment nor by that of this process", name)
	}
	return fmt.Sprintf("The variable %s is defined neither by this file's environment, nor by the cluster's, nor by that of any node's process", name)
}

// references are the names of the variables that records refer to, each with the first record that does.
func (r *Resources) references() map[string]Position {
	out := map[string]Position{}
	eachText(reflect.ValueOf(r).Elem(), Position{}, func(text string, at Position) {
		if name, ok := resource.VariableName(text); ok {
			if _, seen := out[name]; !seen {
				out[name] = at
			}
		}
	})
	return out
}

var rawType = reflect.TypeFor[json.RawMessage]()

// eachText visits the secrets of records, and the texts in the configurations of their plugins: all that nodes resolve.
func eachText(v reflect.Value, at Position, visit func(text string, at Position)) {
	switch v.Kind() {
	case reflect.Slice:
		if v.Type() == rawType {
			return
		}
		for i := range v.Len() {
			eachText(v.Index(i), at, visit)
		}
	case reflect.Map:
		if v.Type().Elem() == secretType {
			for _, key := range v.MapKeys() {
				visit(v.MapIndex(key).String(), at)
			}
		}
	case reflect.Struct:
		if p := v.FieldByName("Position"); p.IsValid() && p.Type() == reflect.TypeFor[Position]() {
			at, _ = reflect.TypeAssert[Position](p)
		}
		for i := range v.NumField() {
			eachField(v, i, at, visit)
		}
	}
}

func eachField(v reflect.Value, i int, at Position, visit func(text string, at Position)) {
	field := v.Type().Field(i)
	switch {
	case !field.IsExported() || field.Name == "Environment": // whose values are as they stand
	case field.Type == secretType:
		visit(v.Field(i).String(), at)
	case field.Name == "Config" && field.Type == rawType:
		var doc any
		if json.Unmarshal(v.Field(i).Bytes(), &doc) == nil {
			eachString(doc, func(text string) { visit(text, at) })
		}
	default:
		eachText(v.Field(i), at, visit)
	}
}

func eachString(v any, visit func(string)) {
	switch v := v.(type) {
	case string:
		visit(v)
	case []any:
		for _, e := range v {
			eachString(e, visit)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			eachString(v[name], visit)
		}
	}
}
