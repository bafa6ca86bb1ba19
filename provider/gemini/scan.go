package gemini

import (
	"strconv"
	"unicode/utf8"
)

// maxDepth is how deep objects and arrays may be nested.
const maxDepth = 500

// scan reads JSON in one pass without allocating. After the first fault every method returns its
// zero value, so that only the end of a walk checks bad.
type scan struct {
	b     []byte
	i     int
	depth int
	bad   bool
}

// space skips white space and returns the byte after it, 0 at the end.
func (s *scan) space() byte {
	for ; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; c {
		case ' ', '\n', '\r', '\t':
		default:
			return c
		}
	}
	return 0
}

func (s *scan) fail() bool {
	s.bad = true
	return false
}

// enter opens an object or array before its first element (n is 0). Any other value is taken
// whole, and the answer is false.
func (s *scan) enter(open byte, n int) bool {
	if s.bad {
		return false
	}
	if n > 0 {
		return true
	}
	if s.space() != open {
		s.value()
		return false
	}
	if s.depth++; s.depth > maxDepth {
		return s.fail()
	}
	s.i++
	return true
}

// next says whether another element follows the first n, taking what stands before it, or what
// closes the object or array.
func (s *scan) next(end byte, n int) bool {
	if s.bad {
		return false
	}
	switch c := s.space(); {
	case s.i >= len(s.b):
		return s.fail()
	case c == end:
		s.i++
		s.depth--
		return false
	case n == 0:
		return true
	case c != ',':
		return s.fail()
	}
	s.i++
	return true
}

// member says whether member n of an object follows: for n := 0; s.member(n); n++ { s.key() … }.
func (s *scan) member(n int) bool { return s.enter('{', n) && s.next('}', n) }

// element says whether element n of an array follows.
func (s *scan) element(n int) bool { return s.enter('[', n) && s.next(']', n) }

// key takes a member's name and the colon.
func (s *scan) key() []byte {
	k := s.str()
	if s.bad || s.space() != ':' || len(k) < 2 {
		s.fail()
		return nil
	}
	s.i++
	return k[1 : len(k)-1]
}

// value takes any value and returns its bytes.
func (s *scan) value() []byte {
	if s.bad {
		return nil
	}
	c, start := s.space(), s.i
	switch c {
	case '"':
		s.str()
	case '{':
		for n := 0; s.member(n); n++ {
			s.key()
			s.value()
		}
	case '[':
		for n := 0; s.element(n); n++ {
			s.value()
		}
	default:
		s.word()
	}
	if s.bad {
		return nil
	}
	return s.b[start:s.i]
}

// word takes a number, true, false or null.
func (s *scan) word() {
	start := s.i
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c == '-', c == '+', c == '.', c == 'E':
			s.i++
			continue
		}
		break
	}
	switch w := s.b[start:s.i]; string(w) {
	case "true", "false", "null":
	default:
		if len(w) == 0 || w[0] != '-' && (w[0] < '0' || w[0] > '9') {
			s.fail()
		}
	}
}

// str takes a string with its quotes.
func (s *scan) str() []byte {
	if s.bad || s.space() != '"' {
		s.fail()
		return nil
	}
	start := s.i
	for i := s.i + 1; i < len(s.b); i++ {
		switch c := s.b[i]; {
		case c == '"':
			s.i = i + 1
			return s.b[start:s.i]
		case c == '\\':
			i++
		case c < 0x20:
			s.fail()
			return nil
		}
	}
	s.fail()
	return nil
}

// end checks that nothing but white space is left.
func (s *scan) end() bool {
	if !s.bad && s.space() == 0 && s.i >= len(s.b) {
		return true
	}
	return s.fail()
}

// text takes a value and gives the text of a string; "" for anything else.
func (s *scan) text() string { return unquote(s.value()) }

// number takes a whole number; 0 for anything else.
func (s *scan) number() int {
	n, err := strconv.Atoi(string(s.value()))
	if err != nil {
		return 0
	}
	return n
}

// unquote gives the text of a JSON string; "" for any other value.
func unquote(v []byte) string {
	if len(v) < 2 || v[0] != '"' {
		return ""
	}
	v = v[1 : len(v)-1]
	for i, c := range v {
		if c == '\\' {
			return string(unescape(append(make([]byte, 0, len(v)), v[:i]...), v[i:]))
		}
	}
	return string(v)
}

// escapes are the escapes of one letter.
var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unescape appends the text of what stands between the quotes of a string. Escapes that are
// none, and lone surrogates, become U+FFFD.
func unescape(dst, raw []byte) []byte {
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c != '\\' || i+1 == len(raw) {
			dst = append(dst, c)
			continue
		}
		i++
		switch c = raw[i]; {
		case c == 'u':
			r, n := unicodeEscape(raw[i+1:])
			dst = utf8.AppendRune(dst, r)
			i += n
		case escapes[c] != 0:
			dst = append(dst, escapes[c])
		default:
			dst = utf8.AppendRune(dst, utf8.RuneError)
		}
	}
	return dst
}

// unicodeEscape reads what follows \u, with the second half of a surrogate pair if it is there.
func unicodeEscape(raw []byte) (r rune, n int) {
	r, ok := hex4(raw)
	switch {
	case !ok:
		return utf8.RuneError, 0
	case r < 0xD800 || r > 0xDFFF:
		return r, 4
	}
	if r < 0xDC00 && len(raw) >= 10 && raw[4] == '\\' && raw[5] == 'u' {
		if low, ok := hex4(raw[6:]); ok && low >= 0xDC00 && low <= 0xDFFF {
			return (r-0xD800)<<10 + (low - 0xDC00) + 0x10000, 10
		}
	}
	return utf8.RuneError, 4
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[:4]), 16, 32)
	return rune(n), err == nil
}
