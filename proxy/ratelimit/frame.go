package ratelimit

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/conclave-llm/conclave/ledger/fields"
)

// A frame, integers as varints but where said:
//
//	version  1 byte
//	boot     8 bytes   the sender's run
//	no                 rises with each frame
//	hints              count, then for each: id (8 bytes), dimension (1 byte), left
//	returns            count, then for each: id (8 bytes), dimension (1 byte), the receiver's run (8 bytes), stamp, n
//	reports            count, then for each: id (8 bytes), held, closed, seq
const (
	frameVersion = 2
	maxItems     = 1000 // of one list: a frame stays below 64 KiB
)

var errFrame = errors.New("frame is malformed")

type frame struct {
	boot    uint64
	no      uint64
	hints   []hint
	returns []giveBack
	reports []report
}

// hint is what is left of the sender's part.
type hint struct {
	id   uint64
	dim  dimension
	left int64
}

// giveBack says that n of what the receiver counts in second stamp was not used.
type giveBack struct {
	id    uint64
	dim   dimension
	boot  uint64
	stamp int64
	n     int64
}

// report is what the sender holds of the receiver's part of a limit on requests in flight.
type report struct {
	id     uint64
	held   int64
	closed int64 // the newest question whose answer is part of held, or will never be
	seq    int64
}

func (f *frame) encode() []byte {
	b := binary.LittleEndian.AppendUint64([]byte{frameVersion}, f.boot)
	b = binary.AppendUvarint(b, f.no)
	b = binary.AppendUvarint(b, uint64(len(f.hints)))
	for i := range f.hints {
		h := &f.hints[i]
		b = append(binary.LittleEndian.AppendUint64(b, h.id), byte(h.dim))
		b = binary.AppendVarint(b, h.left)
	}
	b = binary.AppendUvarint(b, uint64(len(f.returns)))
	for i := range f.returns {
		r := &f.returns[i]
		b = append(binary.LittleEndian.AppendUint64(b, r.id), byte(r.dim))
		b = binary.LittleEndian.AppendUint64(b, r.boot)
		b = binary.AppendVarint(binary.AppendVarint(b, r.stamp), r.n)
	}
	b = binary.AppendUvarint(b, uint64(len(f.reports)))
	for i := range f.reports {
		r := &f.reports[i]
		b = binary.LittleEndian.AppendUint64(b, r.id)
		b = binary.AppendVarint(binary.AppendVarint(binary.AppendVarint(b, r.held), r.closed), r.seq)
	}
	return b
}

func parseFrame(b []byte) (*frame, error) {
	r := reader{fields.Reader{B: b}}
	if v := r.byte(); v != frameVersion {
		return nil, fmt.Errorf("%w: version %d", errFrame, v)
	}
	f := &frame{boot: r.fixed(), no: r.Uint()}
	for range r.countOf(10) {
		f.hints = append(f.hints, hint{r.fixed(), r.dimension(), r.Int()})
	}
	for range r.countOf(19) {
		f.returns = append(f.returns, giveBack{id: r.fixed(), dim: r.dimension(), boot: r.fixed(), stamp: r.Int(), n: r.amount()})
	}
	for range r.countOf(11) {
		f.reports = append(f.reports, report{id: r.fixed(), held: r.amount(), closed: r.Int(), seq: r.Int()})
	}
	if r.Done() != nil {
		return nil, errFrame
	}
	return f, nil
}

// reader takes the fields of frames off a body, which are also some of a fixed length.
type reader struct{ fields.Reader }

func (r *reader) fail() { r.Fail(errFrame) }

func (r *reader) byte() byte {
	if len(r.B) == 0 {
		r.fail()
		return 0
	}
	v := r.B[0]
	r.B = r.B[1:]
	return v
}

func (r *reader) fixed() uint64 {
	if len(r.B) < 8 {
		r.fail()
		return 0
	}
	v := binary.LittleEndian.Uint64(r.B)
	r.B = r.B[8:]
	return v
}

// amount reads what cannot be negative, nor so large that sums overflow.
func (r *reader) amount() int64 {
	n := r.Int()
	if n < 0 || n > maxAmount {
		r.fail()
		return 0
	}
	return n
}

// maxAmount is more than any limit.
const maxAmount = 1 << 48

func (r *reader) dimension() dimension {
	d := dimension(r.byte())
	if d < requests || d >= dimensions {
		r.fail()
		return requests
	}
	return d
}

// countOf reads the length of a list whose items take at least size bytes each.
func (r *reader) countOf(size int) int {
	n := r.Uint()
	if n > maxItems || n > uint64(len(r.B)/size) {
		r.fail()
		return 0
	}
	return int(n)
}

// question asks a peer for what its part of a limit has left.
type question struct {
	boot    uint64 // the asker's run
	id      uint64
	dim     dimension
	limit   int64
	members uint64 // names the members, as the asker sees them
	need    int64
	want    int64 // need, and what may soon be needed
	no      int64 // rises with each question and report
	held    int64 // of parallel: as in a report
	closed  int64
}

func (q *question) encode() []byte {
	b := binary.LittleEndian.AppendUint64(append(make([]byte, 0, 96), frameVersion), q.boot)
	b = append(binary.LittleEndian.AppendUint64(b, q.id), byte(q.dim))
	b = binary.LittleEndian.AppendUint64(b, q.members)
	for _, v := range [...]int64{q.limit, q.need, q.want, q.no, q.held, q.closed} {
		b = binary.AppendVarint(b, v)
	}
	return b
}

func parseQuestion(b []byte) (question, error) {
	r := reader{fields.Reader{B: b}}
	v := r.byte()
	q := question{
		boot: r.fixed(), id: r.fixed(), dim: r.dimension(), members: r.fixed(),
		limit: r.amount(), need: r.amount(), want: r.amount(), no: r.Int(), held: r.amount(), closed: r.Int(),
	}
	if v != frameVersion || r.Done() != nil {
		return question{}, errFrame
	}
	return q, nil
}

// answer is the lender's.
type answer struct {
	boot    uint64 // its run
	lent    int64
	stamp   int64 // its second that counts what it has lent
	left    int64
	retry   int64  // nanoseconds until something is left
	members uint64 // names the members, as it sees them
	settled bool   // under these members it keeps to its part, and has for a minute
}

func (a *answer) encode() []byte {
	ok := byte(0)
	if a.settled {
		ok = 1
	}
	b := append(make([]byte, 0, 64), frameVersion, ok)
	b = binary.LittleEndian.AppendUint64(b, a.boot)
	b = binary.LittleEndian.AppendUint64(b, a.members)
	for _, v := range [...]int64{a.lent, a.stamp, a.left, a.retry} {
		b = binary.AppendVarint(b, v)
	}
	return b
}

func parseAnswer(b []byte) (answer, error) {
	r := reader{fields.Reader{B: b}}
	v, ok := r.byte(), r.byte()
	a := answer{
		settled: ok == 1, boot: r.fixed(), members: r.fixed(), lent: r.amount(), stamp: r.Int(), left: r.amount(), retry: r.Int(),
	}
	if v != frameVersion || r.Done() != nil {
		return answer{}, errFrame
	}
	return a, nil
}
