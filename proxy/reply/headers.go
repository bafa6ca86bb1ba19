package reply

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/resource"
)

// maxHeaders bounds the headers that an answer gets from us.
const maxHeaders = 24

// Headers collects headers whose values are cut from one string, so that an answer's
// headers cost two allocations. Names are in canonical form.
type Headers struct {
	text  []byte
	names [maxHeaders]string
	ends  [maxHeaders]int
	n     int
}

// Reset forgets all headers.
func (h *Headers) Reset() { h.text, h.n = h.text[:0], 0 }

// end closes the value that was appended to text.
func (h *Headers) end(name string) {
	h.names[h.n], h.ends[h.n] = name, len(h.text)
	h.n++
}

// Add adds a header.
func (h *Headers) Add(name, value string) {
	h.text = append(h.text, value...)
	h.end(name)
}

// Int adds a header that is a number.
func (h *Headers) Int(name string, n int64) {
	h.text = strconv.AppendInt(h.text, n, 10)
	h.end(name)
}

// Money adds a header in dollars, without trailing zeros.
func (h *Headers) Money(name string, m resource.Money) {
	h.text = appendMoney(h.text, m)
	h.end(name)
}

// Millis adds a header in milliseconds.
func (h *Headers) Millis(name string, d time.Duration) {
	h.text = strconv.AppendFloat(h.text, float64(d.Microseconds())/1000, 'f', -1, 64)
	h.end(name)
}

// Apply puts the headers into to.
func (h *Headers) Apply(to http.Header) {
	text := string(h.text)
	values := make([]string, h.n)
	start := 0
	for i := range values {
		values[i] = text[start:h.ends[i]]
		start = h.ends[i]
		to[h.names[i]] = values[i : i+1 : i+1]
	}
}

// appendMoney appends dollars without trailing zeros.
func appendMoney(b []byte, m resource.Money) []byte {
	b = strconv.AppendInt(b, int64(m/resource.Dollar), 10)
	rest := int64(m % resource.Dollar)
	if rest == 0 {
		return b
	}
	from := len(b)
	b = strconv.AppendInt(b, rest+int64(resource.Dollar), 10) // "1" and nine digits
	b[from] = '.'
	for b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	return b
}

// Text keeps names that people chose to what a header may hold.
func Text(name string) string {
	plain := func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}
	return strings.Map(plain, name)
}
