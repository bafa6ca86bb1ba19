package ratelimit

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A frame, integers as varints but where said:
//
//	version  1 byte
//	boot     8 bytes   the sender's run
//	round              of the sender
//	seen               count, then for each peer that it hears: its id's hash (8 bytes), its last round
//	entries            count, then for each: id (8 bytes), dimension (1 byte), total, window, demand, claim
//	yours              count, then for each: id (8 bytes), dimension (1 byte), window
const (
	frameVersion = 1
	maxEntries   = 1 << 16
)

var errFrame = errors.New("frame is malformed")

type frame struct {
	boot    uint64
	round   uint64
	seen    []sighting
	entries []entry
	yours   []entry // id, dim and window: what the sender knows of the receiver's last run
}

// sighting says up to which round the sender has heard a peer.
type sighting struct {
	node  uint64 // hash of its id
	round uint64
}

// entry is the sender's part of one limit.
type entry struct {
	id     uint64
	dim    dimension
	total  int64 // admitted since the sender's start; of parallel: in flight
	window int64 // admitted in the last minute; of parallel: rises with each change
	demand int64 // admitted and waiting in the last round
	claim  int64 // may be admitted until the next frame
}

func (f *frame) encode() []byte {
	b := []byte{frameVersion}
	b = binary.LittleEndian.AppendUint64(b, f.boot)
	b = binary.AppendUvarint(b, f.round)
	b = binary.AppendUvarint(b, uint64(len(f.seen)))
	for _, s := range f.seen {
		b = binary.LittleEndian.AppendUint64(b, s.node)
		b = binary.AppendUvarint(b, s.round)
	}
	b = binary.AppendUvarint(b, uint64(len(f.entries)))
	for i := range f.entries {
		e := &f.entries[i]
		b = append(binary.LittleEndian.AppendUint64(b, e.id), byte(e.dim))
		for _, v := range [...]int64{e.total, e.window, e.demand, e.claim} {
			b = binary.AppendVarint(b, v)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(f.yours)))
	for i := range f.yours {
		e := &f.yours[i]
		b = append(binary.LittleEndian.AppendUint64(b, e.id), byte(e.dim))
		b = binary.AppendVarint(b, e.window)
	}
	return b
}

func parseFrame(b []byte) (*frame, error) {
	r := reader{b: b}
	if v := r.byte(); v != frameVersion {
		return nil, fmt.Errorf("%w: version %d", errFrame, v)
	}
	f := &frame{boot: r.fixed(), round: r.uint()}
	for range r.count(9) {
		f.seen = append(f.seen, sighting{r.fixed(), r.uint()})
	}
	for range r.count(13) {
		f.entries = append(f.entries, entry{
			id: r.fixed(), dim: r.dimension(), total: r.int(), window: r.int(), demand: r.int(), claim: r.int(),
		})
	}
	for range r.count(10) {
		f.yours = append(f.yours, entry{id: r.fixed(), dim: r.dimension(), window: r.int()})
	}
	if r.bad || len(r.b) > 0 {
		return nil, errFrame
	}
	return f, nil
}

// reader takes fields off a frame; after the first that is not there all are zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.bad, r.b = true, nil }

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) fixed() uint64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) dimension() dimension {
	d := dimension(r.byte())
	if d < requests || d >= dimensions {
		r.fail()
	}
	return d
}

// count reads the length of a list whose items take at least size bytes each.
func (r *reader) count(size int) int {
	n := r.uint()
	if n > maxEntries || n > uint64(len(r.b)/size) {
		r.fail()
		return 0
	}
	return int(n)
}

// question asks the owner of a small limit to count.
type question struct {
	id    uint64
	dim   dimension
	limit int64
	cost  int64
	total int64 // of parallel: in flight at the asker, before this request
	seq   int64
}

func (q *question) encode() []byte {
	b := append(binary.LittleEndian.AppendUint64([]byte{frameVersion}, q.id), byte(q.dim))
	for _, v := range [...]int64{q.limit, q.cost, q.total, q.seq} {
		b = binary.AppendVarint(b, v)
	}
	return b
}

func parseQuestion(b []byte) (question, error) {
	r := reader{b: b}
	v := r.byte()
	q := question{id: r.fixed(), dim: r.dimension(), limit: r.int(), cost: r.int(), total: r.int(), seq: r.int()}
	if v != frameVersion || r.bad || len(r.b) > 0 {
		return question{}, errFrame
	}
	return q, nil
}

// answer is the owner's.
type answer struct {
	admitted bool
	known    int64 // counted, with this request if it was admitted
	retry    int64 // nanoseconds
}

func (a *answer) encode() []byte {
	ok := byte(0)
	if a.admitted {
		ok = 1
	}
	b := []byte{frameVersion, ok}
	return binary.AppendVarint(binary.AppendVarint(b, a.known), a.retry)
}

func parseAnswer(b []byte) (answer, error) {
	r := reader{b: b}
	v, ok := r.byte(), r.byte()
	a := answer{admitted: ok == 1, known: r.int(), retry: r.int()}
	if v != frameVersion || r.bad || len(r.b) > 0 {
		return answer{}, errFrame
	}
	return a, nil
}
