package proxy

import (
	"bytes"
	"context"
	"io"

	"github.com/conclave-llm/conclave/proxy/attachment"
)

// attach puts the cluster's files into a request that names them. All policies decide about what comes of
// it, and its size is that of the request.
func (s *Server) attach(ctx context.Context, c *Call) error {
	if s.store == nil || !attachment.Named(c.route.endpoint, c.body) {
		return nil
	}
	most := c.sizeLimit(c.levels)
	pieces, size, err := attachment.Inline(ctx, s.store.files, &attachment.Request{Endpoint: c.route.endpoint, Who: c.who, Body: c.body, Most: most})
	if err != nil || pieces == nil {
		return err
	}
	parts := make([]io.Reader, len(pieces))
	for i, p := range pieces {
		parts[i] = bytes.NewReader(p)
	}
	whole, err := s.bodies.Read(io.MultiReader(parts...), size, most)
	if err != nil {
		return err
	}
	s.bodies.Release(c.buf)
	c.buf = whole
	return c.peek(whole.Bytes())
}
