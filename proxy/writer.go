package proxy

import (
	"fmt"
	"net/http"
	"time"
)

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
	n, err := h.w.Write(p)
	if err != nil {
		return n, fmt.Errorf("write to client: %w", err)
	}
	return n, nil
}

// Flush implements Writer. The deadline frees what a client holds that does not read.
func (h *httpWriter) Flush() error {
	if h.timeout > 0 {
		h.timed = true
		_ = h.rc.SetWriteDeadline(time.Now().Add(h.timeout)) // not every server has deadlines
	}
	if err := h.rc.Flush(); err != nil {
		return fmt.Errorf("flush to client: %w", err)
	}
	return nil
}

// end lets the connection live on without the last write's deadline.
func (h *httpWriter) end() {
	if h.timed {
		_ = h.rc.SetWriteDeadline(time.Time{})
	}
}
