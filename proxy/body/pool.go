// Package body holds requests' bodies: whole, in pooled buffers, without the fields that no
// client may send.
package body

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/conclave-llm/conclave/llm"
)

const (
	smallBody = 16 << 10 // the capacity of a new buffer if the length is not announced
	maxPooled = 1 << 20  // larger buffers are left to the garbage collector
)

// Buffer is a request's body.
type Buffer struct{ b []byte }

// Bytes are the body, valid until the buffer is released.
func (b *Buffer) Bytes() []byte { return b.b }

// Holds says whether raw is the buffer's own bytes.
func (b *Buffer) Holds(raw []byte) bool {
	return len(raw) == len(b.b) && len(raw) > 0 && &raw[0] == &b.b[0]
}

// Pool reads bodies into pooled buffers and bounds the bytes that all requests hold.
type Pool struct {
	pool  sync.Pool // of *Buffer
	bytes atomic.Int64
	most  int64 // that all requests may hold; 0: no bound
}

// NewPool makes a pool whose buffers hold at most so many bytes at any time; <= 0: no bound.
func NewPool(most int64) *Pool { return &Pool{most: most} }

// Read reads a body of the announced length, -1 if unknown, up to limit bytes. The caller
// ends with Release or Abandon. Errors are *llm.Error.
func (p *Pool) Read(body io.Reader, length, limit int64) (*Buffer, error) {
	if length > limit {
		return nil, tooLarge(length, limit)
	}
	size := int(length) + 1 // one more, to see the end without growing
	if length < 0 {
		size = smallBody
	}
	if held := p.bytes.Add(int64(size)); p.most > 0 && held > p.most {
		p.bytes.Add(-int64(size))
		return nil, &llm.Error{
			Kind: llm.Unavailable, Code: "conclave_overloaded", RetryAfter: time.Second,
			Message: "The gateway holds as many bytes of requests as it may.",
		}
	}
	buf := p.buffer(size)
	got, err := readAll(buf.b[:0], body, limit)
	p.bytes.Add(int64(cap(got)) - int64(size))
	buf.b = got
	if err != nil {
		p.Release(buf)
		return nil, err
	}
	return buf, nil
}

// buffer returns a buffer whose capacity is at least size, and reserves exactly size.
func (p *Pool) buffer(size int) *Buffer {
	buf, ok := p.pool.Get().(*Buffer)
	if !ok {
		buf = &Buffer{}
	}
	if cap(buf.b) < size {
		buf.b = make([]byte, 0, size)
	}
	return buf
}

// Release gives a buffer back, whose bytes nobody may read any more.
func (p *Pool) Release(buf *Buffer) {
	p.bytes.Add(-int64(cap(buf.b)))
	if cap(buf.b) <= maxPooled {
		buf.b = buf.b[:0]
		p.pool.Put(buf)
	}
}

// Abandon gives up a buffer that somebody may still read.
func (p *Pool) Abandon(buf *Buffer) { p.bytes.Add(-int64(cap(buf.b))) }

// readAll appends all of body to b, and refuses more than limit bytes.
func readAll(b []byte, body io.Reader, limit int64) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if int64(len(b)) > limit {
			return b, tooLarge(int64(len(b)), limit)
		}
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return b, broken(err)
		}
	}
}

func tooLarge(size, limit int64) error {
	return &llm.Error{
		Kind: llm.TooLarge, Code: "request_too_large",
		Count:   &llm.Count{Of: llm.CountRequestBytes, Limit: limit, Left: limit, Asked: size},
		Message: fmt.Sprintf("The request body is larger than %d bytes.", limit),
	}
}

// broken is a body that ended early.
func broken(err error) error {
	if e, ok := errors.AsType[*llm.Error](err); ok {
		return e // of a body that is not compressed as it says
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &llm.Error{
			Kind: llm.Invalid, Status: http.StatusRequestTimeout, Code: "request_timeout",
			Message: "The request body did not come in time.", Err: err,
		}
	}
	return &llm.Error{Kind: llm.Invalid, Code: "incomplete_body", Message: "The request body could not be read to its end.", Err: err}
}
