// Package reply is how an answer leaves: the Writer, which is the seam between the data path
// and the HTTP server in front of it, the headers that the gateway adds, and the one place
// where an error becomes HTTP in OpenAI's dialect.
package reply

import (
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxWrite is how much is written under one deadline.
const maxWrite = 1 << 20

// Writer is where an answer goes. It is the seam between the data path and the server in
// front of it.
type Writer interface {
	// Header is what Start sends.
	Header() http.Header
	// Start sends the status and the header; only the first call counts.
	Start(status int)
	// Write sends a part of the body.
	Write(p []byte) (int, error)
	// Flush pushes out what was written.
	Flush() error
	// Started says whether Start was called.
	Started() bool
}

// Silent is a Writer of an answer that nobody reads: there is another way to tell it.
type Silent struct{}

// Header implements Writer.
func (Silent) Header() http.Header { return http.Header{} }

// Start implements Writer.
func (Silent) Start(int) {}

// Write implements Writer.
func (Silent) Write(p []byte) (int, error) { return len(p), nil }

// Flush implements Writer.
func (Silent) Flush() error { return nil }

// Started implements Writer: no error can be answered.
func (Silent) Started() bool { return true }

// Body is what the client sends.
type Body interface {
	io.Reader
	// Until sets when a Read gives up; the zero time is never.
	Until(at time.Time)
}

// Bytes is a Body that is there already.
type Bytes struct{ io.Reader }

// Until implements Body: there is nothing to wait for.
func (Bytes) Until(time.Time) {}

// HTTPBody reads through net/http.
type HTTPBody struct {
	io.Reader
	rc *http.ResponseController
}

// Reset makes b read the body of the request that w answers.
func (b *HTTPBody) Reset(body io.Reader, w *HTTPWriter) { *b = HTTPBody{body, w.rc} }

// Until implements Body.
func (b *HTTPBody) Until(at time.Time) {
	_ = b.rc.SetReadDeadline(at) // not every server has deadlines
}

// HTTPWriter answers through net/http.
type HTTPWriter struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	timeout time.Duration // for one write to a client that does not read
	status  int
	timed   bool      // a deadline was set
	set     time.Time // when it was
}

// Reset makes h answer through w. timeout bounds each write to a client that does not read;
// 0: nothing does.
func (h *HTTPWriter) Reset(w http.ResponseWriter, timeout time.Duration) {
	*h = HTTPWriter{w: w, rc: http.NewResponseController(w), timeout: timeout}
}

// Header implements Writer.
func (h *HTTPWriter) Header() http.Header { return h.w.Header() }

// Start implements Writer.
func (h *HTTPWriter) Start(status int) {
	if h.status != 0 {
		return
	}
	h.status = status
	h.w.WriteHeader(status)
}

// Taken says that the connection is not HTTP any more: nothing else can be answered.
func (h *HTTPWriter) Taken() { h.status = http.StatusSwitchingProtocols }

// Started implements Writer.
func (h *HTTPWriter) Started() bool { return h.status != 0 }

// Write implements Writer.
func (h *HTTPWriter) Write(p []byte) (int, error) {
	done := 0
	for {
		h.deadline()
		n, err := h.w.Write(p[done:min(done+maxWrite, len(p))])
		done += n
		if err != nil {
			return done, fmt.Errorf("write to client: %w", err)
		}
		if done == len(p) {
			return done, nil
		}
	}
}

// Flush implements Writer.
func (h *HTTPWriter) Flush() error {
	h.deadline()
	if err := h.rc.Flush(); err != nil {
		return fmt.Errorf("flush to client: %w", err)
	}
	return nil
}

// deadline bounds the next write, so that a client that does not read cannot hold what its
// request holds.
func (h *HTTPWriter) deadline() {
	if h.timeout <= 0 {
		return
	}
	now := time.Now()
	if h.timed && now.Sub(h.set) < h.timeout/16 {
		return // the one that is set does for this write too
	}
	h.timed, h.set = h.rc.SetWriteDeadline(now.Add(h.timeout)) == nil, now
	if !h.timed {
		h.timeout = 0 // the server has no deadlines
	}
}

// End lets the connection live on without the last write's deadline.
func (h *HTTPWriter) End() {
	if h.timed {
		_ = h.rc.SetWriteDeadline(time.Time{})
	}
}
