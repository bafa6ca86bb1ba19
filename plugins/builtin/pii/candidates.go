package pii

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// place says what stands at a place of a text where personal data may begin. Expressions are only
// tried there: a search through the whole text for each of them takes a hundred times as long.
type place uint8

// The places.
const (
	atNumber  place = 1 << iota // a number, or what goes before one: + (
	atWord                      // a word with a digit in it, or a short one before a number
	atMail                      // what may stand before an @
	atColon                     // hexadecimal digits with colons between them
	atAddress                   // http
)

// candidate is one place.
type candidate struct {
	start  int
	is     place
	digits int // of the number, over its separators
}

// maxLocal is how many bytes stand before an @.
const maxLocal = 64

// candidates are the places in the text from a place on, in order.
func candidates(text string, from int) []candidate {
	var all []candidate
	mail := -1
	for i := from; i < len(text); i++ {
		c := text[i]
		starts := i == 0 || !isAlnum(text[i-1])
		switch {
		case c == '@':
			if start := local(text, i, from); start < i && start > mail {
				mail = start
				all = append(all, candidate{start: start, is: atMail})
			}
		case isAlnum(c) && starts:
			if k, n := word(text, i); k != 0 {
				all = append(all, candidate{start: i, is: k, digits: n})
			}
		case follows(text, i+1, isDigit) && (c == '+' || c == '('):
			all = append(all, candidate{start: i, is: atNumber, digits: count(text, i, 1)})
		case c == ':' && starts:
			all = append(all, candidate{start: i, is: atColon})
		}
	}
	return all
}

// follows says whether such a byte stands at the place.
func follows(text string, at int, is func(byte) bool) bool { return at < len(text) && is(text[at]) }

// local is where the name before an @ begins.
func local(text string, at, from int) int {
	start := at
	for start > from && at-start < maxLocal {
		r, n := utf8.DecodeLastRuneInString(text[:start])
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '.' && r != '_' && r != '%' && r != '+' && r != '-' {
			break
		}
		start -= n
	}
	return max(start, from)
}

// word says what kinds of places the beginning of a word is, and how many digits follow.
func word(text string, start int) (k place, digits int) {
	end, figures, hex := start, 0, true
	for ; follows(text, end, isAlnum); end++ {
		if isDigit(text[end]) {
			figures++
		}
		hex = hex && isHex(text[end])
	}
	size, behind := end-start, text[end:]
	if isDigit(text[start]) {
		k |= atNumber
		digits = count(text, start, 1)
	}
	mixed := figures > 0 && figures < size
	if mixed || size <= 2 && strings.HasPrefix(behind, " ") && follows(text, end+1, isDigit) {
		k |= atWord
		digits = max(digits, count(text, start, 6))
	}
	return k | before(behind, hex, size), digits
}

// before says what a word is the beginning of, by what follows it.
func before(behind string, hex bool, size int) place {
	switch {
	case strings.HasPrefix(behind, "://"):
		return atAddress
	case strings.HasPrefix(behind, ":") && hex && size <= 4:
		return atColon
	case strings.HasPrefix(behind, "-") && hex && size == 8:
		return atWord
	}
	return 0
}

// count is how many digits the number has that begins at a place: at most three separators, and so
// many letters, stand side by side in it.
func count(text string, start, letters int) int {
	n, gap, said := 0, 0, 0
	for i := start; i < len(text) && i < start+64; i++ {
		c := text[i]
		switch {
		case isDigit(c):
			n, gap, said = n+1, 0, 0
		case isAlnum(c):
			if gap, said = 0, said+1; said > letters {
				return n
			}
		case c == ' ' || c == '-' || c == '.' || c == '/' || c == '(' || c == ')' || c == '+':
			if gap, said = gap+1, 0; gap > 3 {
				return n
			}
		default:
			return n
		}
	}
	return n
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isHex(c byte) bool { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }

func isAlnum(c byte) bool { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'z' }
