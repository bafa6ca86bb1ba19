package llm

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

// maxDepth is how deep objects and arrays may be nested. Schemas of tools, the deepest things
// that clients send, stay below 100.
const maxDepth = 1000

// scanner reads JSON in one pass without allocating, checking the syntax of all it passes.
// After the first error every method returns the zero value, so only the end of a walk checks.
type scanner struct {
	b     []byte
	i     int
	depth int
	why   string // what is wrong at i; "" while all is well
	media int64  // bytes of the strings that are base64, as it is or in data URLs
}

// fail notes what is wrong at the current byte.
func (s *scanner) fail(why string) bool {
	if s.why == "" {
		s.why = why
	}
	return false
}

// ok says that no error was met.
func (s *scanner) ok() bool { return s.why == "" }

// space skips white space and returns the byte after it, 0 at the end.
func (s *scanner) space() byte {
	for ; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; c {
		case ' ', '\n', '\r', '\t':
		default:
			return c
		}
	}
	return 0
}

// enter takes the byte that opens an object or array.
func (s *scanner) enter(open byte) bool {
	if !s.ok() {
		return false
	}
	if s.space() != open || s.i == len(s.b) {
		return s.fail("'" + string(open) + "' is missing")
	}
	if s.depth++; s.depth > maxDepth {
		return s.fail("nested too deeply")
	}
	s.i++
	return true
}

// next says whether another element follows the first n of an object or array, taking the
// comma before it or the closing byte.
func (s *scanner) next(end byte, n int) bool {
	if !s.ok() {
		return false
	}
	c := s.space()
	switch {
	case s.i == len(s.b):
		return s.fail("unexpected end")
	case c == end:
		s.i++
		s.depth--
		return false
	case n == 0:
		return true
	case c != ',':
		return s.fail("',' or '" + string(end) + "' is missing")
	}
	s.i++
	return true
}

// finish checks that nothing but white space is left.
func (s *scanner) finish() {
	if !s.ok() {
		return
	}
	if s.space(); s.i != len(s.b) {
		s.fail("something follows the object")
	}
}

// key takes a member's name and the colon. It returns the name as it stands between the quotes.
func (s *scanner) key() []byte {
	k := s.str()
	if !s.ok() {
		return nil
	}
	if s.space() != ':' {
		s.fail("':' is missing")
		return nil
	}
	s.i++
	return k
}

// value takes any value and returns its bytes.
func (s *scanner) value() []byte {
	if !s.ok() {
		return nil
	}
	c := s.space()
	start := s.i
	switch {
	case s.i == len(s.b):
		s.fail("unexpected end")
	case c == '"':
		s.str()
	case c == '{':
		s.enter('{')
		for n := 0; s.next('}', n); n++ {
			s.key()
			s.value()
		}
	case c == '[':
		s.enter('[')
		for n := 0; s.next(']', n); n++ {
			s.value()
		}
	case c == 't':
		s.word("true")
	case c == 'f':
		s.word("false")
	case c == 'n':
		s.word("null")
	default:
		s.number()
	}
	if !s.ok() {
		return nil
	}
	return s.b[start:s.i]
}

func (s *scanner) word(w string) {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		s.fail("not a value")
		return
	}
	s.i += len(w)
}

func (s *scanner) number() {
	if s.peekByte() == '-' {
		s.i++
	}
	switch c := s.peekByte(); {
	case c == '0':
		s.i++
	case c >= '1' && c <= '9':
		s.digits()
	default:
		s.fail("not a value")
		return
	}
	if s.peekByte() == '.' {
		s.i++
		s.digits()
	}
	if c := s.peekByte(); c == 'e' || c == 'E' {
		s.i++
		if c := s.peekByte(); c == '+' || c == '-' {
			s.i++
		}
		s.digits()
	}
}

// digits takes one or more digits.
func (s *scanner) digits() {
	start := s.i
	for s.i < len(s.b) && s.b[s.i]-'0' <= 9 {
		s.i++
	}
	if s.i == start {
		s.fail("digit is missing")
	}
}

func (s *scanner) peekByte() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// str takes a string and returns what is between its quotes, escapes and all.
func (s *scanner) str() []byte {
	if !s.ok() {
		return nil
	}
	if s.space() != '"' {
		s.fail("'\"' is missing")
		return nil
	}
	s.i++
	start := s.i
	for {
		s.plain()
		switch c := s.peekByte(); {
		case s.i >= len(s.b):
			s.fail("string does not end")
			return nil
		case c == '"':
			v := s.b[start:s.i]
			s.i++
			if len(v) > 1024 && (isDataURL(v) || isBase64(v)) {
				s.media += int64(len(v))
			}
			return v
		case c == '\\':
			if !s.escape() {
				return nil
			}
		default:
			s.fail("control character in a string")
			return nil
		}
	}
}

// plain moves to the next quote, backslash or control character, eight bytes at a time.
func (s *scanner) plain() {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	b, i := s.b, s.i
	for ; len(b)-i >= 8; i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		quote, slash := w^(ones*'"'), w^(ones*'\\')
		// Each term has the high bit of the first byte that is zero, or below 0x20, set.
		m := ((w - ones*0x20) &^ w) | ((quote - ones) &^ quote) | ((slash - ones) &^ slash)
		if m &= highs; m != 0 {
			s.i = i + bits.TrailingZeros64(m)/8
			return
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c == '"' || c == '\\' || c < 0x20 {
			break
		}
	}
	s.i = i
}

// escape takes one escape sequence.
func (s *scanner) escape() bool {
	s.i++
	switch s.peekByte() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i++
		return true
	case 'u':
		if _, ok := hex4(s.b[s.i+1:]); !ok {
			return s.fail("\\u needs four hexadecimal digits")
		}
		s.i += 5
		return true
	}
	return s.fail("unknown escape")
}

// integer takes a whole number that is not negative; null is 0.
func (s *scanner) integer(most int64) (n int64, ok bool) {
	v := s.value()
	if string(v) == "null" {
		return 0, true
	}
	n, err := strconv.ParseInt(string(v), 10, 64) // does not allocate for the error-free case
	return n, err == nil && n >= 0 && n <= most
}

// hex4 reads four hexadecimal digits.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// appendUnescaped appends the text of a string whose syntax was checked. A lone surrogate
// becomes U+FFFD, as in encoding/json.
func appendUnescaped(dst, raw []byte) []byte {
	for i := 0; i < len(raw); {
		c := raw[i]
		if c != '\\' {
			dst = append(dst, c)
			i++
			continue
		}
		c = raw[i+1]
		i += 2
		switch c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, n := unescapeRune(raw[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// unescapeRune reads what follows a \u, with the second half of a surrogate pair if it is there.
func unescapeRune(raw []byte) (r rune, n int) {
	r, _ = hex4(raw)
	if r < 0xD800 || r > 0xDFFF {
		return r, 4
	}
	if len(raw) >= 10 && raw[4] == '\\' && raw[5] == 'u' {
		if low, ok := hex4(raw[6:]); ok && r < 0xDC00 && low >= 0xDC00 && low <= 0xDFFF {
			return (r-0xD800)<<10 + (low - 0xDC00) + 0x10000, 10
		}
	}
	return utf8.RuneError, 4
}

// isDataURL recognises a base64 data URL by its beginning.
func isDataURL(v []byte) bool {
	if len(v) < 5 || string(v[:5]) != "data:" {
		return false
	}
	for i := 5; i < len(v)-8 && i < 200; i++ {
		if v[i] == ';' && string(v[i:i+8]) == ";base64," {
			return true
		}
	}
	return false
}

// isBase64 recognises base64, as Anthropic's, Google's and Bedrock's media are, by its beginning:
// text has a space in it before long.
func isBase64(v []byte) bool {
	for _, c := range v[:256] {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '/' || c > '9') && c != '+' {
			return false
		}
	}
	return true
}

// AppendString appends s as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for {
		n := plain(s)
		dst = append(dst, s[:n]...)
		if n == len(s) {
			return append(dst, '"')
		}
		r, size := utf8.DecodeRuneInString(s[n:])
		s = s[n+size:]
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, '\\', 'n')
		case r < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
}

// plain is how many bytes of s, from its beginning, stand in JSON as they are.
func plain(s string) int {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			return i
		}
	}
	return len(s)
}
