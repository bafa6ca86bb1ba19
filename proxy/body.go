package proxy

import (
	"context"
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

// buffer is a request's body.
type buffer struct{ b []byte }

// bodies reads bodies into pooled buffers and bounds the bytes that all requests hold.
type bodies struct {
	pool  sync.Pool // of *buffer
	bytes atomic.Int64
	most  int64
}

// read reads a body of the announced length, -1 if unknown, up to limit bytes. The caller
// ends with release. Errors are *llm.Error.
func (p *bodies) read(body io.Reader, length, limit int64) (*buffer, error) {
	if length > limit {
		return nil, tooLarge(limit)
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
		p.release(buf)
		return nil, err
	}
	return buf, nil
}

// buffer returns a buffer whose capacity is at least size, and reserves exactly size.
func (p *bodies) buffer(size int) *buffer {
	buf, ok := p.pool.Get().(*buffer)
	if !ok {
		buf = &buffer{}
	}
	if cap(buf.b) < size {
		buf.b = make([]byte, 0, size)
	}
	return buf
}

// release gives a buffer back, whose bytes nobody may read any more.
func (p *bodies) release(buf *buffer) {
	p.bytes.Add(-int64(cap(buf.b)))
	if cap(buf.b) <= maxPooled {
		buf.b = buf.b[:0]
		p.pool.Put(buf)
	}
}

// abandon gives up a buffer that somebody may still read.
func (p *bodies) abandon(buf *buffer) { p.bytes.Add(-int64(cap(buf.b))) }

// readAll appends all of body to b, and refuses more than limit bytes.
func readAll(b []byte, body io.Reader, limit int64) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if int64(len(b)) > limit {
			return b, tooLarge(limit)
		}
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return b, broken(err)
		}
	}
}

// readBody is the step that reads the body whole and the fields that are acted on. No attempt
// begins before: a relay that hands the incoming body on cuts answers when it ends early.
func readBody(ctx context.Context, s *Server, c *Call) error {
	if enc := c.header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return &llm.Error{
			Kind: llm.Invalid, Status: http.StatusUnsupportedMediaType, Code: "unsupported_content_encoding",
			Message: "A request body must not be compressed.",
		}
	}
	buf, err := s.bodies.read(c.in, c.length, c.cat.Settings().MaxBodyBytes)
	if err != nil {
		if ctx.Err() != nil && !errors.Is(err, os.ErrDeadlineExceeded) { // which ends ctx too
			return ctx.Err()
		}
		return err // the deadline stays: the server still reads what it throws away
	}
	c.in.Until(time.Time{})
	c.buf = buf
	return c.peek(buf.b)
}

func tooLarge(limit int64) error {
	return &llm.Error{
		Kind: llm.TooLarge, Code: "request_too_large",
		Message: fmt.Sprintf("The request body is larger than %d bytes.", limit),
	}
}

// broken is a body that ended early.
func broken(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &llm.Error{
			Kind: llm.Invalid, Status: http.StatusRequestTimeout, Code: "request_timeout",
			Message: "The request body did not come in time.", Err: err,
		}
	}
	return &llm.Error{Kind: llm.Invalid, Code: "incomplete_body", Message: "The request body could not be read to its end.", Err: err}
}
