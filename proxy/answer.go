package proxy

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/bedrock"
	"github.com/conclave-llm/conclave/proxy/policy"
)

// answer relays a whole answer as it came: guardrails after, the settled record, the bytes.
func (s *Server) answer(ctx context.Context, c *Call, a *Answer) error {
	c.result.status, c.result.text, c.result.passed = a.Status, a.Report.TextBytes, int64(len(a.Body))
	c.result.usage = c.usageOf(a)
	if !s.charges(ctx, c, a) {
		c.result.text, c.result.usage, c.retold = 0, llm.Usage{}, true
	}
	c.hearWhole(a)
	s.complete(c)
	c.result.text = 0 // all of it is counted
	if c.most > 0 && int64(len(a.Body)) > c.most {
		return policy.ErrResponse(c.most)
	}
	body, err := s.guardWhole(ctx, c, a)
	if err != nil {
		return err
	}
	if c.turn != nil {
		body = c.turn.Keep(ctx, c.body, body, c.owners())
	}
	s.own(ctx, c, a, body)
	s.billBatches(ctx, c, a.Status, body)
	s.settle(c, nil)
	h := c.out.Header()
	s.answerHeaders(c, h)
	providerHeaders(a.Header, h)
	if c.route.endpoint == llm.Invoke {
		bedrock.SetHeaderUsage(h, &c.result.usage)
	}
	h["Content-Type"] = c.contentType(a.Header)
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	c.result.begun = true
	c.out.Start(a.Status)
	if _, err := c.out.Write(body); err != nil {
		return gone(err)
	}
	return nil
}

var (
	typeJSON   = []string{"application/json"}
	typeEvents = []string{"text/event-stream; charset=utf-8"}
	typeFrames = []string{"application/vnd.amazon.eventstream"}
	noCache    = []string{"no-cache"}
	noBuffer   = []string{"no"}
)

// contentType is that of a whole answer. A conversation's is JSON, whatever a server calls it: clients take its word.
func (c *Call) contentType(h http.Header) []string {
	v := h["Content-Type"]
	if len(v) == 0 || c.converses() && !strings.HasPrefix(v[0], typeJSON[0]) {
		return typeJSON
	}
	return v[:1]
}

// converses says that the answer is a conversation's, in its own dialect.
func (c *Call) converses() bool {
	return c.route.prefix == nil && c.route.endpoint.Family() == llm.FamilyConversation
}

// gone is a client that does not take its answer.
func gone(err error) error {
	return &llm.Error{Kind: llm.Canceled, Message: "The client went away.", Err: err}
}
