package peer

import "maps"

// At is what stands below the names of a way; nil: nothing does.
func At(v any, way ...string) any {
	for _, name := range way {
		o, _ := v.(Object)
		v = o[name]
	}
	return v
}

// Merge changes what a session's configuration says: objects are merged, all else is replaced.
func Merge(into, with Object) {
	for name, v := range with {
		a, had := into[name].(Object)
		b, has := v.(Object)
		if had && has {
			a = maps.Clone(a)
			Merge(a, b)
			v = a
		}
		into[name] = v
	}
}
