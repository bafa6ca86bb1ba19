package proxy

import (
	"context"
	"net/http"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/gemini"
	"github.com/conclave-llm/conclave/proxy/reply"
)

// arrayWriter is a reply.Writer for clients in Google's dialect who want a stream as a JSON array:
// those who do not ask for alt=sse.
type arrayWriter struct {
	reply.Writer
	array  gemini.Array
	events bool // the answer is a stream of events
	out    []byte
}

// wantsArray says whether a request is for a stream that is to be an array.
func wantsArray(r *Route, req *http.Request) bool {
	return r.endpoint == llm.GenerateContent && r.stream && req.URL.Query().Get("alt") != "sse"
}

// serveArray serves a call whose stream is to be an array.
func (s *Server) serveArray(ctx context.Context, c *Call) {
	w := &arrayWriter{Writer: c.out}
	c.out = w
	s.serve(ctx, c)
	w.end() // not after a panic: an answer that is not whole must not look so
}

// Start implements reply.Writer.
func (w *arrayWriter) Start(status int) {
	if h := w.Header(); !w.Started() && strings.HasPrefix(h.Get("Content-Type"), "text/event-stream") {
		h["Content-Type"] = typeJSON
		w.events = true
	}
	w.Writer.Start(status)
}

// Write implements reply.Writer.
func (w *arrayWriter) Write(p []byte) (int, error) {
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

// end closes the array.
func (w *arrayWriter) end() {
	if w.events {
		_, _ = w.Writer.Write(w.array.End(w.out[:0])) // a client that went away has no use for it
	}
}
