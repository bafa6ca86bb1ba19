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
	inside := false // one of the names is in this object
	for _, name := range names {
		outer, _, dotted := strings.Cut(name, ".")
		inside = inside || dotted && outer == string(key)
	}
	start := s.i
	if inside && s.space() == '{' {
		s.enter('{')
		for n := 0; s.next('}', n); n++ {
			s.space()
			inner := s.key()
			has := filled(s.value())
			for i, name := range names {
				outer, rest, dotted := strings.Cut(name, ".")
				given[i] = given[i] || has && dotted && outer == string(key) && sameName(inner, rest)
			}
		}
	} else {
		s.value()
	}
	if !s.ok() {
		return
	}
	has := filled(bytes.TrimSpace(s.b[start:s.i]))
	for i, name := range names {
		given[i] = given[i] || has && name == string(key)
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
