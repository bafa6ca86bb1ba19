package upstream

import (
	"io"

	"github.com/conclave-llm/conclave/llm"
)

// rawSize is how much of an answer of bytes is handed on at once.
const rawSize = 32 << 10

// Raw is an answer that is neither JSON nor events, such as audio: bytes as they come. It has the
// methods of a Stream, each of whose events is some bytes. It is not safe for concurrent use.
type Raw struct {
	call *call
	buf  []byte
	end  error // what Next goes on to return
}

// Next returns the next bytes as an event's Raw, valid until the next call. It returns io.EOF
// after a whole answer, and any other end as an *llm.Error.
func (r *Raw) Next() (llm.Event, error) {
	if r.buf == nil {
		r.buf = make([]byte, rawSize)
	}
	for r.end == nil {
		n, err := r.call.Read(r.buf)
		r.call.await(r.call.limits.Idle)
		r.call.phase.Store(int32(waitNext))
		switch {
		case err == io.EOF: //nolint:errorlint // a body returns the very value
			r.end = io.EOF
		case err != nil:
			r.end = r.call.failure(err)
		}
		if n > 0 {
			return llm.Event{Raw: r.buf[:n]}, nil
		}
	}
	return llm.Event{}, r.end
}

// Done is false: the bytes end with the answer.
func (r *Raw) Done() bool { return false }

// Usage is unknown.
func (r *Raw) Usage() (u llm.Usage, ok bool) { return llm.Usage{}, false }

// TextBytes is 0: the bytes are no text.
func (r *Raw) TextBytes() int64 { return 0 }

// Close ends the answer. One that is not at its end is canceled at the provider.
func (r *Raw) Close() {
	r.call.close()
	if r.end == nil {
		r.end = io.ErrClosedPipe
	}
}
