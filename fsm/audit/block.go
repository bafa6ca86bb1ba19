package audit

import (
	"encoding/binary"
	"hash/fnv"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// A block of entries has a summary, which tells what is surely not in it: so a rare thing is
// found without reading every entry. It is a Bloom filter of 8 to 32 bits a term; one block
// in forty is read in vain.
const (
	blockSize   = 256
	summarySize = 1024 // bytes
	probes      = 4
)

// block is the number of the block that an entry is in.
func block(number uint64) uint64 { return (number - 1) / blockSize }

// glance is what queries select by, read without decoding the rest. Its texts are parts of
// the file's memory.
type glance struct {
	number                           uint64
	at                               resource.Time
	actor, address, action, kind, id []byte
}

// skim reads a glance of an encoded entry.
func skim(body []byte) (glance, error) {
	var g glance
	r := reader{rest: body}
	n := r.want(cborMap)
	for i := uint64(0); i < n && !r.bad; i++ {
		switch string(r.text()) {
		case "number":
			g.number = r.want(cborUint)
		case "at":
			g.at = resource.Time(r.int())
		case "actor":
			g.actor = r.text()
		case "address":
			g.address = r.text()
		case "action":
			g.action = r.text()
		case "kind":
			g.kind = r.text()
		case "id":
			g.id = r.text()
		default:
			r.skip(0)
		}
	}
	if r.bad || len(r.rest) > 0 {
		return g, frame.ErrDamaged
	}
	return g, nil
}

func (r *reader) int() int64 {
	switch major, arg := r.head(); major {
	case cborUint:
		return int64(arg)
	case cborNint:
		return -1 - int64(arg)
	}
	r.fail()
	return 0
}

// summary is a Bloom filter.
type summary []byte

// probe gives the bits of a term: a letter for the field, and the text.
func probe(field byte, text []byte) (bits [probes]uint32) {
	h := fnv.New64a()
	h.Write([]byte{field})
	h.Write(text)
	sum := h.Sum64()
	a, b := uint32(sum), uint32(sum>>32)|1
	for i := range bits {
		bits[i] = (a + uint32(i)*b) % (summarySize * 8)
	}
	return bits
}

func (s summary) add(field byte, text []byte) {
	if len(text) == 0 {
		return
	}
	for _, bit := range probe(field, text) {
		s[bit/8] |= 1 << (bit % 8)
	}
}

// has says whether the term may be there; an empty text is everywhere.
func (s summary) has(field byte, text string) bool {
	if text == "" {
		return true
	}
	for _, bit := range probe(field, []byte(text)) {
		if s[bit/8]&(1<<(bit%8)) == 0 {
			return false
		}
	}
	return true
}

// The letters of the fields.
const (
	fieldActor   = 'a'
	fieldAddress = 'i'
	fieldAction  = 'c'
	fieldKind    = 'k'
	fieldID      = 'r'
)

// summarize stores the summary of a block whose entries are all there, or were.
func summarize(rows store.Rows, number uint64) error {
	s := make(summary, summarySize)
	for n := number*blockSize + 1; n <= (number+1)*blockSize; n++ {
		v, ok := rows.Value(store.Audit, Key(n))
		if !ok {
			continue // pruned
		}
		e, err := split(Key(n), v)
		if err != nil {
			return err
		}
		g, err := skim(e.body)
		if err != nil {
			return err
		}
		s.add(fieldActor, g.actor)
		s.add(fieldAddress, g.address)
		s.add(fieldAction, g.action)
		s.add(fieldKind, g.kind)
		s.add(fieldID, g.id)
	}
	rows.Put(store.AuditBlocks, binary.BigEndian.AppendUint64(nil, number), s)
	return nil
}
