package llm

import (
	"bytes"
	"strings"
)

// Missing returns the first of the names that the body, whose syntax Peek has checked, does
// not give, "" if it gives all. A name may have one dot, which leads into an object:
// "metadata.cost_center". What is null or "" is not given.
func Missing(body []byte, names []string) string {
	var room [16]bool
	given := append(room[:0], make([]bool, len(names))...)
	s := scanner{b: body}
	s.enter('{')
	for n := 0; s.next('}', n); n++ {
		s.space()
		s.given(s.key(), names, given)
	}
	for i, name := range names {
		if !given[i] {
			return name
		}
	}
	return ""
}

// given takes the value of the member with the raw name key and notes which of the names it gives.
func (s *scanner) given(key []byte, names []string, given []bool) {
	var buf [128]byte
	if bytes.IndexByte(key, '\\') >= 0 {
		key = appendUnescaped(buf[:0], key)
	}
	start := s.i
	if s.space() == '{' && leadsInto(names, key) {
		s.enter('{')
		for n := 0; s.next('}', n); n++ {
			s.space()
			inner := s.key()
			if filled(s.value()) {
				noteInner(names, given, key, inner)
			}
		}
	} else {
		s.value()
	}
	if !s.ok() || !filled(bytes.TrimSpace(s.b[start:s.i])) {
		return
	}
	for i, name := range names {
		given[i] = given[i] || name == string(key)
	}
}

// leadsInto says whether one of the names is in the object of the name.
func leadsInto(names []string, object []byte) bool {
	for _, name := range names {
		if outer, _, dotted := strings.Cut(name, "."); dotted && outer == string(object) {
			return true
		}
	}
	return false
}

// noteInner notes the names that are the object's member with the raw name inner.
func noteInner(names []string, given []bool, object, inner []byte) {
	for i, name := range names {
		outer, rest, dotted := strings.Cut(name, ".")
		given[i] = given[i] || dotted && outer == string(object) && sameName(inner, rest)
	}
}

// filled says whether a value is anything but null and "".
func filled(v []byte) bool { return len(v) > 0 && string(v) != "null" && string(v) != `""` }

// sameName compares a raw name, escapes and all, with a plain one.
func sameName(raw []byte, name string) bool {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw) == name
	}
	return string(appendUnescaped(nil, raw)) == name
}
