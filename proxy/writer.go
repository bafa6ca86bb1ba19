package proxy

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

// Body is what the client sends.
type Body interface {
	io.Reader
	// Until sets when a Read gives up; the zero time is never.
	Until(at time.Time)
}

// httpBody reads through net/http.
type httpBody struct {
	io.Reader
	rc *http.ResponseController
}

// Until implements Body.
func (b *httpBody) Until(at time.Time) {
	_ = b.rc.SetReadDeadline(at) // not every server has deadlines
}

// httpWriter answers through net/http.
type httpWriter struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	timeout time.Duration // for one write to a client that does not read
	status  int
	timed   bool // a deadline was set
}

func (h *httpWriter) reset(w http.ResponseWriter, timeout time.Duration) {
	*h = httpWriter{w: w, rc: http.NewResponseController(w), timeout: timeout}
}

// Header implements Writer.
func (h *httpWriter) Header() http.Header { return h.w.Header() }

// Start implements Writer.
func (h *httpWriter) Start(status int) {
	if h.status != 0 {
		return
	}
	h.status = status
	h.w.WriteHeader(status)
}

// Started implements Writer.
func (h *httpWriter) Started() bool { return h.status != 0 }

// Write implements Writer.
func (h *httpWriter) Write(p []byte) (int, error) {
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
func (h *httpWriter) Flush() error {
	h.deadline()
	if err := h.rc.Flush(); err != nil {
		return fmt.Errorf("flush to client: %w", err)
	}
	return nil
}

// deadline bounds the next write, so that a client that does not read cannot hold what its
// request holds.
func (h *httpWriter) deadline() {
	if h.timeout > 0 {
		h.timed = h.rc.SetWriteDeadline(time.Now().Add(h.timeout)) == nil
		if !h.timed {
			h.timeout = 0 // the server has no deadlines
		}
	}
}

// end lets the connection live on without the last write's deadline.
func (h *httpWriter) end() {
	if h.timed {
		_ = h.rc.SetWriteDeadline(time.Time{})
	}
}
