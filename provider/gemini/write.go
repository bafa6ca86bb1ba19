package gemini

import (
	"strconv"

	"github.com/conclave-llm/conclave/llm"
)

// writer appends JSON. It puts the commas.
type writer struct {
	out   []byte
	first bool // nothing stands yet in what was opened last
}

// sep puts a comma if something stands before.
func (w *writer) sep() {
	if !w.first {
		w.out = append(w.out, ',')
	}
	w.first = false
}

// open begins an object or array, as the value of a member.
func (w *writer) open(c byte) {
	w.out = append(w.out, c)
	w.first = true
}

// element begins an object or array as an element.
func (w *writer) element(c byte) { //nolint:unparam // mirrors open and close
	w.sep()
	w.open(c)
}

func (w *writer) close(c byte) {
	w.out = append(w.out, c)
	w.first = false
}

// member begins a member. The name needs no escapes.
func (w *writer) member(name string) *writer {
	w.sep()
	w.out = append(w.out, '"')
	w.out = append(w.out, name...)
	w.out = append(w.out, '"', ':')
	return w
}

func (w *writer) raw(v string)     { w.out = append(w.out, v...) }
func (w *writer) json(v []byte)    { w.out = llm.AppendRaw(w.out, v) }
func (w *writer) str(v string)     { w.out = llm.AppendString(w.out, v) }
func (w *writer) integer(n int64)  { w.out = strconv.AppendInt(w.out, n, 10) }
func (w *writer) number(v float64) { w.out = strconv.AppendFloat(w.out, v, 'g', -1, 64) }
func (w *writer) optional(n string, v *float64) {
	if v != nil {
		w.member(n).number(*v)
	}
}

// data writes base64, which is long and needs no escapes.
func (w *writer) data(v string) {
	for i := range len(v) {
		if c := v[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			w.str(v)
			return
		}
	}
	w.out = append(w.out, '"')
	w.out = append(w.out, v...)
	w.out = append(w.out, '"')
}
