package proxy

import (
	"context"
	"net/http"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/reply"
)

// wantsArray says whether a request is for a stream that is to be an array.
func wantsArray(r *Route, req *http.Request) bool {
	return r.endpoint == llm.GenerateContent && r.stream && req.URL.Query().Get("alt") != "sse"
}

// serveArray serves a call whose stream is to be an array.
func (s *Server) serveArray(ctx context.Context, c *Call) {
	w := &reply.ArrayWriter{Writer: c.out}
	c.out = w
	s.serve(ctx, c)
	w.End() // not after a panic: an answer that is not whole must not look so
}
