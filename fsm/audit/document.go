package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
)

// Fields of records that entries treat in a way of their own.
var (
	// hashed fields are named where they change; their values are left out.
	hashed = map[string]bool{"hash": true, "old_hashes": true, "next": true, "turns": true, "password_hash": true, "password": true}
	// free fields are JSON that somebody wrote: members with the name of a secret are hidden.
	free = map[string]bool{"config": true, "metadata": true, "value": true}
	// always differ, and the entry has them itself.
	stamps = map[string]bool{"updated_at": true, "updated_by": true}
)

// maxValue is the most bytes of one field; a longer one is told by its size and hash: what
// is written into the log stays for long.
const maxValue = 8 << 10

// pair is one field of a record: its name, the encoded name and the encoded value.
type pair struct{ name, key, value []byte }

// pairs reads a record's fields in their order, which is that of their encoded names.
func pairs(record []byte) ([]pair, error) {
	r := reader{rest: record}
	n := r.want(cborMap)
	all := make([]pair, 0, min(n, 64))
	for i := uint64(0); i < n && !r.bad; i++ {
		from := r.rest
		name := r.text()
		key := from[:len(from)-len(r.rest)]
		all = append(all, pair{name: name, key: key, value: r.item()})
	}
	if r.bad || len(r.rest) > 0 {
		return nil, fmt.Errorf("record of %d bytes: %w", len(record), frame.ErrDamaged)
	}
	return all, nil
}

// Diff compares two encodings of a record. It names the fields that differ and gives their
// values on both sides, without secrets. Without one of the records it gives the other one
// whole and names nothing.
func Diff(before, after []byte) (fields []string, from, to codec.Raw, err error) {
	var a, b []pair
	if before != nil {
		if a, err = pairs(before); err != nil {
			return nil, nil, nil, err
		}
	}
	if after != nil {
		if b, err = pairs(after); err != nil {
			return nil, nil, nil, err
		}
	}
	if before == nil || after == nil {
		return nil, document(a), document(b), nil
	}
	a, b = differing(a, b)
	for _, p := range a {
		fields = append(fields, string(p.name))
	}
	for _, p := range b {
		if name := string(p.name); !slices.Contains(fields, name) {
			fields = append(fields, name)
		}
	}
	slices.Sort(fields)
	return fields, document(a), document(b), nil
}

// NameOf is the name of an encoded record, "" if it has none.
func NameOf(record []byte) string {
	all, err := pairs(record)
	if err != nil {
		return ""
	}
	for _, p := range all {
		if r := (reader{rest: p.value}); string(p.name) == "name" {
			return string(r.text())
		}
	}
	return ""
}

// Flag is the encoding of a record that has one field, which is true or false.
func Flag(name string, on bool) []byte {
	b := appendHead(nil, cborMap, 1)
	b = append(appendHead(b, cborText, uint64(len(name))), name...)
	if on {
		return append(b, cborOther<<5|21)
	}
	return append(b, cborOther<<5|20)
}

// differing keeps of both the fields that the other one does not have, or has otherwise.
func differing(a, b []pair) (from, to []pair) {
	for len(a) > 0 || len(b) > 0 {
		order := 0
		switch {
		case len(a) == 0:
			order = 1
		case len(b) == 0:
			order = -1
		default:
			order = bytes.Compare(a[0].key, b[0].key)
		}
		same := order == 0 && bytes.Equal(a[0].value, b[0].value)
		if order <= 0 {
			if !same && !stamps[string(a[0].name)] {
				from = append(from, a[0])
			}
			a = a[1:]
		}
		if order >= 0 {
			if !same && !stamps[string(b[0].name)] {
				to = append(to, b[0])
			}
			b = b[1:]
		}
	}
	return from, to
}

// document encodes fields without their secrets, nil for none.
func document(fields []pair) codec.Raw {
	size, n := 3, uint64(0)
	for _, p := range fields {
		if !hashed[string(p.name)] {
			size += len(p.key) + min(len(p.value), maxValue)
			n++
		}
	}
	if n == 0 {
		return nil
	}
	out := appendHead(make([]byte, 0, size), cborMap, n)
	for _, p := range fields {
		switch {
		case hashed[string(p.name)]:
			continue
		case len(p.value) > maxValue:
			sum := sha256.Sum256(p.value)
			text := fmt.Sprintf("%d bytes, SHA-256 %x", len(p.value), sum[:8])
			out = appendHead(append(out, p.key...), cborText, uint64(len(text)))
			out = append(out, text...)
		case free[string(p.name)]:
			out = appendFree(append(out, p.key...), p.value)
		case bytes.Contains(p.value, sealedMember):
			out, _ = appendOpen(append(out, p.key...), p.value)
		default:
			out = append(append(out, p.key...), p.value...)
		}
	}
	return out
}

// sealedMember is the encoded name of the ciphertext of a resource.Sealed.
var sealedMember = []byte("\x63box")

// appendOpen appends an item; of each sealed secret in it the fingerprint alone.
func appendOpen(out, item []byte) (appended, rest []byte) {
	r := reader{rest: item}
	major, n := r.head()
	switch major {
	case cborMap:
		return appendOpenMap(out, &r, n)
	case cborArray:
		out = appendHead(out, cborArray, n)
		for range n {
			out, r.rest = appendOpen(out, r.rest)
		}
		return out, r.rest
	default:
		r.rest = item
		out = append(out, r.item()...)
		return out, r.rest
	}
}

func appendOpenMap(out []byte, r *reader, n uint64) (appended, rest []byte) {
	look := *r
	var print []byte
	sealed := false
	for range n {
		switch name := look.text(); {
		case string(name) == "print":
			print = look.item()
		case string(name) == "box":
			sealed = true
			look.skip(0)
		default:
			look.skip(0)
		}
	}
	if sealed {
		if print == nil {
			return appendHead(out, cborMap, 0), look.rest
		}
		out = appendHead(out, cborMap, 1)
		return append(append(out, "\x65print"...), print...), look.rest
	}
	out = appendHead(out, cborMap, n)
	for range n {
		out = append(out, r.item()...) // the name
		out, r.rest = appendOpen(out, r.rest)
	}
	return out, r.rest
}

// appendFree appends a byte string of JSON with its secrets hidden; another value as it is.
func appendFree(out, item []byte) []byte {
	r := reader{rest: item}
	major, n := r.head()
	if major != cborBytes {
		out, _ = appendOpen(out, item)
		return out
	}
	text := hide(r.take(n))
	return append(appendHead(out, cborBytes, uint64(len(text))), text...)
}

// DiffJSON is Diff with the values as the admin API shows them.
func DiffJSON(kind string, before, after []byte) (fields []string, from, to json.RawMessage, err error) {
	fields, a, b, err := Diff(before, after)
	return fields, render(kind, a), render(kind, b), err
}
