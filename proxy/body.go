package proxy

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/body"
	"github.com/conclave-llm/conclave/proxy/form"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/prompt"
	"github.com/conclave-llm/conclave/resource"
)

// readBody is the step that reads the body whole and the fields that are acted on. No attempt
// begins before: a relay that hands the incoming body on cuts answers when it ends early.
func readBody(ctx context.Context, s *Server, c *Call) error {
	buf, err := s.readAll(c)
	if err != nil {
		if ctx.Err() != nil && !errors.Is(err, os.ErrDeadlineExceeded) { // which ends ctx too
			return ctx.Err()
		}
		return err // the deadline stays: the server still reads what it throws away
	}
	c.in.Until(time.Time{})
	c.buf = buf
	if c.takesForm() {
		return c.openForm(c.header.Get("Content-Type"))
	}
	raw := buf.Bytes()
	if c.route.endpoint == llm.SystemOne && form.Is(c.header.Get("Content-Type")) {
		if raw, err = form.Assets(c.header.Get("Content-Type"), raw); err != nil {
			return err
		}
	}
	if err := c.peek(raw); err != nil {
		return err
	}
	if err := c.fillPrompt(c.route.endpoint); err != nil {
		return err
	}
	if err := s.findNamed(ctx, c); err != nil {
		return err
	}
	return s.attach(ctx, c)
}

// readAll reads the body, without its compression. What may be compressed is as large as it may be otherwise.
func (s *Server) readAll(c *Call) (*body.Buffer, error) {
	in, length, limit := io.Reader(c.in), c.length, c.sizeLimit(c.levels)
	if enc := c.header.Get("Content-Encoding"); enc != "" && enc != "identity" && length != 0 {
		d, err := body.Decode(enc, in)
		if err != nil {
			return nil, err
		}
		defer func() { _ = d.Close() }() // it never fails
		if in = d; length <= limit {
			length = -1
		}
	}
	return s.bodies.Read(in, length, limit)
}

// fillPrompt makes the request of the stored prompt that it names, if it does. All policies decide
// about what comes of it.
func (c *Call) fillPrompt(at llm.Endpoint) error {
	if c.fields.PromptID == "" {
		return nil
	}
	filled, used, err := prompt.Fill(c.cat, c.who, at, c.body)
	if err != nil {
		return err
	}
	c.prompt = used
	if used.Model {
		c.named = "" // the prompt decides, not the path
	}
	return c.peek(filled)
}

// sizeLimit is the most bytes that the levels let the body have.
func (c *Call) sizeLimit(levels []resource.Level) int64 {
	if c.route.upload {
		return policy.FileLimit(c.cat.Settings(), levels)
	}
	return policy.RequestLimit(c.cat.Settings(), levels)
}
