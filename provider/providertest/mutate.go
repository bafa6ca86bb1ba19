package providertest

import (
	"encoding/json"
	"maps"
	"slices"
)

// wrong are the values that take the place of others.
var wrong = []any{nil, 7.5, "x", true, []any{}, map[string]any{}, []any{nil}, []any{map[string]any{}}}

// mutate calls try with body in which one value after the other is another, or is not there.
func mutate(body []byte, try func([]byte)) {
	var v any
	if json.Unmarshal(body, &v) != nil {
		return
	}
	emit := func() {
		if b, err := json.Marshal(v); err == nil {
			try(b)
		}
	}
	change(v, func(x any) { v = x }, emit)
}

// change puts wrong values in the place of v and of what is in it.
func change(v any, set func(any), emit func()) {
	for _, w := range wrong {
		set(w)
		emit()
	}
	set(v)
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			old := v[k]
			delete(v, k)
			emit()
			v[k] = old
			change(old, func(x any) { v[k] = x }, emit)
		}
	case []any:
		for i := range v {
			change(v[i], func(x any) { v[i] = x }, emit)
		}
	}
}
