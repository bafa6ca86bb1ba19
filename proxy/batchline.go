package proxy

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/proxy/batch"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/resource"
)

// askLine puts a line of a batch through the steps of its endpoint, as if its key had sent it.
func (s *Server) askLine(ctx context.Context, of *resource.Artifact, id string, body []byte) batch.Answer {
	r := s.routeAt(http.MethodPost, of.Batch.Endpoint)
	if r == nil { // an older node took the batch
		return batch.Answer{Status: http.StatusNotFound, Body: []byte(`{"error":{"message":"The endpoint is not served.","type":"invalid_request_error","param":null,"code":"endpoint_not_served"}}`)}
	}
	out := &reply.Memory{}
	c := s.calls.Get().(*Call)
	h := http.Header{"Content-Type": {"application/json"}}
	if of.Owners.CustomerID != "" {
		h.Set("X-Litellm-End-User-Id", of.Owners.CustomerID)
	}
	c.came = came{
		id: id, route: r, path: of.Batch.Endpoint, peer: of.Batch.Address, method: http.MethodPost, header: h,
		in: lineBody{bytes.NewReader(body)}, length: int64(len(body)), out: out, started: s.now(),
	}
	c.batch = of
	defer s.recycle(c)
	s.serveLine(ctx, c)
	return batch.Answer{Status: out.Status, Header: out.Header(), Body: out.Body}
}

// serveLine serves a call that no server is in front of, which would take a panic.
func (s *Server) serveLine(ctx context.Context, c *Call) {
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
			panic(p)
		}
	}()
	s.serve(ctx, c)
}

// routeAt is the route of a path that has no variable, nil if there is none.
func (s *Server) routeAt(method, path string) *Route {
	for _, r := range s.routes {
		if r.method == method && r.prefix == nil && r.patterns[0] == path {
			return r
		}
	}
	return nil
}

// lineBody is a body that is here already.
type lineBody struct{ *bytes.Reader }

// Until implements reply.Body.
func (lineBody) Until(time.Time) {}
