package audit

import "strings"

// entrySize is more than the bytes of an entry's names, heads and numbers.
const entrySize = 256

// size is at least that of the encoding.
func (e *Entry) size() int {
	n := entrySize + len(e.Actor) + len(e.For) + len(e.Address) + len(e.Action) + len(e.Kind) + len(e.ID) + len(e.Name) +
		len(e.Outcome) + len(e.RequestID) + len(e.Before) + len(e.After)
	for _, f := range e.Fields {
		n += len(f) + 9
	}
	return n
}

// append appends what codec.Marshal gives, without reflection: Apply does it for each
// change.
func (e *Entry) append(b []byte) []byte {
	w := writer{b: append(b, 0), at: len(b)}
	w.int("at", int64(e.At))
	w.text("id", e.ID, false)
	w.text("for", e.For, false)
	w.text("kind", e.Kind, false)
	w.text("name", e.Name, false)
	w.text("actor", e.Actor, false)
	w.raw("after", e.After)
	w.uint("count", e.Count, false)
	w.uint("index", e.Index, true)
	if e.Since != 0 {
		w.int("since", int64(e.Since))
	}
	w.text("action", e.Action, true)
	w.raw("before", e.Before)
	w.list("fields", e.Fields)
	w.uint("number", e.Number, true)
	w.text("address", e.Address, false)
	w.text("outcome", e.Outcome, false)
	w.uint("version", e.Version, false)
	w.text("request_id", e.RequestID, false)
	w.b[w.at] = cborMap<<5 | w.n // there are fewer than 24
	return w.b
}

// writer writes the members of a map, which come in the order of their encoded names.
type writer struct {
	b  []byte
	at int  // of the map's head
	n  byte // members
}

func (w *writer) name(name string) {
	w.n++
	w.b = append(appendHead(w.b, cborText, uint64(len(name))), name...)
}

func (w *writer) text(name, v string, always bool) {
	if v != "" || always {
		w.name(name)
		w.string(v)
	}
}

// string writes a text. What is no UTF-8 would not be read back.
func (w *writer) string(v string) {
	v = strings.ToValidUTF8(v, "\uFFFD")
	w.b = append(appendHead(w.b, cborText, uint64(len(v))), v...)
}

func (w *writer) uint(name string, v uint64, always bool) {
	if v != 0 || always {
		w.name(name)
		w.b = appendHead(w.b, cborUint, v)
	}
}

func (w *writer) int(name string, v int64) {
	w.name(name)
	if v < 0 {
		w.b = appendHead(w.b, cborNint, uint64(-1-v))
		return
	}
	w.b = appendHead(w.b, cborUint, uint64(v))
}

func (w *writer) raw(name string, v []byte) {
	if len(v) > 0 {
		w.name(name)
		w.b = append(w.b, v...)
	}
}

func (w *writer) list(name string, v []string) {
	if len(v) == 0 {
		return
	}
	w.name(name)
	w.b = appendHead(w.b, cborArray, uint64(len(v)))
	for _, s := range v {
		w.string(s)
	}
}
