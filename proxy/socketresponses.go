package proxy

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/lane"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/proxy/socket"
	"github.com/conclave-llm/conclave/proxy/stored"
)

// socketResponsesRoute serves OpenAI's responses over a WebSocket. Each request on it is one of
// responsesRoute, which decides all there is to decide.
func socketResponsesRoute() (*Route, error) {
	r, err := lookupOf("GET", []string{"/v1/responses", "/responses", "/openai/v1/responses"}, llm.Responses, serveLanes)
	if err != nil {
		return nil, err
	}
	r.socket = true
	delete(r.steps.exempt, stepAccess)
	r.steps.access = func(_ context.Context, _ *Server, c *Call) error {
		if !socket.Upgrade(c.header) {
			return socket.ErrUpgrade()
		}
		return nil
	}
	return r, nil
}

// serveLanes is the step that opens the connection and serves it to its end.
func serveLanes(_ context.Context, s *Server, c *Call) error {
	leave, ok := s.live.Enter()
	if !ok {
		return &llm.Error{Kind: llm.Unavailable, Code: "node_stopping", RetryAfter: time.Second, Message: "This node stops. Ask another one."}
	}
	defer leave()
	s.answerHeaders(c, c.out.Header())
	conn, err := c.accept(socket.Options{WriteTimeout: s.cfg.WriteTimeout, MaxMessage: c.cat.Settings().MaxBodyBytes})
	c.result.begun, c.result.status = true, 200
	if err != nil {
		return gone(err)
	}
	memory := new(stored.Memory)
	from := c.came
	return lane.Run(s.live.Context(), lane.Config{
		Conn: conn, Stop: s.live.Stopping(), Now: s.now, Total: s.cfg.SessionTotal,
		Serve: func(ctx context.Context, body []byte, out reply.Writer) {
			s.serveRequest(ctx, &from, body, out, memory)
		},
		Check: func(ctx context.Context) error { return s.recheck(ctx, &from) },
	})
}

// serveRequest answers a request for a response that came on a connection, as if it had come alone.
func (s *Server) serveRequest(ctx context.Context, from *came, body []byte, out reply.Writer, memory *stored.Memory) {
	c := s.calls.Get().(*Call)
	header := from.header.Clone()
	for _, name := range [...]string{"X-Request-Id", "Content-Type", "Content-Encoding"} {
		delete(header, name)
	}
	c.came = came{
		id: reply.RequestID(header), route: s.responses, path: from.path, peer: from.peer, header: header,
		in: reply.Bytes{Reader: bytes.NewReader(body)}, length: int64(len(body)), out: out, started: s.now(), memory: memory,
	}
	defer s.recycle(c)
	s.serveAside(ctx, c)
}

// serveAside is serve for a call that has no connection of its own, which a panic could cut.
func (s *Server) serveAside(ctx context.Context, c *Call) {
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // it is panicked with as it is
			panic(p)
		}
	}()
	s.serve(ctx, c)
}

// recheck says whether who opened a connection might open it now.
func (s *Server) recheck(ctx context.Context, from *came) error {
	if err := s.cfg.Serving(); err != nil {
		return notServing(err)
	}
	c := s.calls.Get().(*Call)
	defer s.recycle(c)
	c.came = *from
	c.out, c.accept, c.cat = reply.Silent{}, nil, s.cfg.Catalog()
	for _, take := range []step{authenticate, checkCustomer} {
		if err := take(ctx, s, c); err != nil {
			return s.final(c, err)
		}
	}
	return nil
}
