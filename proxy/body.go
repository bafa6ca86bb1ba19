package proxy

import (
	"context"
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/typesafe"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/prompt"
	"github.com/conclave-llm/conclave/resource"
)

// readBody is the step that reads the body whole and the fields that are acted on. No attempt
// begins before: a relay that hands the incoming body on cuts answers when it ends early.
func readBody(ctx context.Context, s *Server, c *Call) error {
	if enc := c.header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return &llm.Error{
			Kind: llm.Invalid, Status: http.StatusUnsupportedMediaType, Code: "unsupported_content_encoding",
			Message: "A request body must not be compressed.",
		}
	}
	buf, err := s.bodies.Read(c.in, c.length, c.sizeLimit(c.levels))
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
	body := buf.Bytes()
	if c.route.endpoint == llm.SystemOne {
		if body, err = typesafe.Join(c.header.Get("Content-Type"), body); err != nil {
			return err
		}
	}
	if err := c.peek(body); err != nil {
		return err
	}
	if err := c.fillPrompt(c.route.endpoint); err != nil {
		return err
	}
	return s.attach(ctx, c)
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
