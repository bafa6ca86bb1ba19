package reply

import (
	"strings"

	"github.com/conclave-llm/conclave/provider/gemini"
)

// ArrayWriter is a Writer for clients in Google's dialect who want a stream as a JSON array:
// those who do not ask for alt=sse.
type ArrayWriter struct {
	Writer
	array  gemini.Array
	events bool // the answer is a stream of events
	out    []byte
}

// Start implements Writer.
func (w *ArrayWriter) Start(status int) {
	if h := w.Header(); !w.Started() && strings.HasPrefix(h.Get("Content-Type"), "text/event-stream") {
		h["Content-Type"] = []string{"application/json"}
		w.events = true
	}
	w.Writer.Start(status)
}

// Write implements Writer.
func (w *ArrayWriter) Write(p []byte) (int, error) {
	if !w.events {
		return w.Writer.Write(p)
	}
	if w.out = w.array.Append(w.out[:0], p); len(w.out) == 0 {
		return len(p), nil
	}
	if _, err := w.Writer.Write(w.out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// End closes the array.
func (w *ArrayWriter) End() {
	if w.events {
		_, _ = w.Writer.Write(w.array.End(w.out[:0])) // a client that went away has no use for it
	}
}
