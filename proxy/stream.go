package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/router"
)

// maxPending is how many bytes of events are pushed out at once.
const maxPending = 32 << 10

// relay sends a stream on as it comes. Events that came together leave together: they are
// pushed out before the provider is waited for, so that none is late. The head of the answer waits for the
// first event, so that another deployment can still be tried, and the last event waits for
// the settled record.
func (s *Server) relay(ctx context.Context, c *Call, a *Answer, flight router.Flight) error {
	var check *guardrail.StreamCheck
	if !a.Raw { // there is no text in bytes
		var err error
		if check, err = c.guards.Stream(ctx, s.guardStream(c)); err != nil {
			return err
		}
	}
	c.checked = check != nil
	defer func() {
		c.push()        // what came before an error
		if !c.settled { // it failed
			c.judged(check.Results())
		}
		check.Close()
	}()
	untold := c.keepsIn(a)
	for {
		ev, err := a.Stream.Next()
		if c.unsent != nil {
			return c.unsent
		}
		s.note(c, a.Stream, flight, err)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		untold = s.ownEvent(ctx, c, untold, ev.Data)
		if a.Stream.Done() {
			c.last = append(c.last[:0], ev.Raw...)
			break
		}
		if c.result.passed += int64(len(ev.Raw)); c.most > 0 && c.result.passed > c.most {
			return policy.ErrResponse(c.most)
		}
		if err := s.pass(ctx, c, a, check, ev.Raw); err != nil {
			return err
		}
	}
	release, last, err := check.Finish(ctx, c.last)
	if err := s.send(c, a, release, judgedBy(check, err)); err != nil {
		return err
	}
	c.last = last
	c.judged(check.Results())
	if c.turn != nil {
		c.last = c.turn.KeepEvent(ctx, c.body, c.last, c.owners())
	}
	return s.endStream(c, a)
}

// readOut reads a stream to its end whose client has left, so that its usage is the provider's.
func (s *Server) readOut(c *Call, st Stream, flight router.Flight) {
	var err error
	for !c.settled && err == nil && !st.Done() {
		_, err = st.Next()
	}
	s.note(c, st, flight, io.EOF)
}

// note counts what came.
func (s *Server) note(c *Call, st Stream, flight router.Flight, err error) {
	if c.retold = c.retells(""); !c.retold {
		if u, ok := st.Usage(); ok {
			c.result.usage = u
		}
		c.result.text = st.TextBytes()
	}
	if c.result.firstToken == 0 && err == nil {
		now := s.now()
		c.result.firstToken = now.Sub(c.started)
		c.result.waited += now.Sub(c.result.answered)
		flight.FirstToken(now.Sub(c.result.began))
	}
}

// pass sends one event on, or what the guardrails release of it.
func (s *Server) pass(ctx context.Context, c *Call, a *Answer, check *guardrail.StreamCheck, raw []byte) error {
	if check == nil {
		return s.sendOne(c, a, raw)
	}
	release, err := check.Feed(ctx, raw)
	return s.send(c, a, release, judgedBy(check, err))
}

// send sends the events that the guardrails released, also those before a block.
func (s *Server) send(c *Call, a *Answer, events [][]byte, blocked error) error {
	for _, raw := range events {
		if err := s.sendOne(c, a, raw); err != nil {
			return err
		}
	}
	return blocked
}

// judgedBy names the guardrail that ended the stream as the error's scope.
func judgedBy(check *guardrail.StreamCheck, err error) error {
	e, ok := errors.AsType[*llm.Error](err)
	if !ok {
		return err
	}
	for _, r := range check.Results() {
		if r.Status != guardrail.StatusPassed {
			e.Scope = r.Guardrail
		}
	}
	return e
}

// sendOne sends one event: at once if guardrails have held it up, else with those that came
// with it.
func (s *Server) sendOne(c *Call, a *Answer, raw []byte) error {
	s.beginStream(c, a)
	c.pending = append(c.pending, raw...)
	if c.checked || len(c.pending) >= maxPending {
		c.push()
	}
	return c.unsent
}

// push sends what is pending. Its error is kept in unsent.
func (c *Call) push() {
	if len(c.pending) == 0 || c.unsent != nil {
		return
	}
	_, err := c.out.Write(c.pending)
	c.pending = c.pending[:0]
	if err == nil {
		err = c.out.Flush()
	}
	if err != nil {
		c.unsent = gone(err)
	}
}

// beginStream sends the head of a stream's answer, once.
func (s *Server) beginStream(c *Call, a *Answer) {
	if c.result.begun {
		return
	}
	c.result.begun = true
	c.result.status = http.StatusOK
	h := c.out.Header()
	s.answerHeaders(c, h)
	providerHeaders(a.Header, h)
	h["Content-Type"] = typeEvents
	switch c.route.endpoint {
	case llm.Converse:
		h["Content-Type"] = typeFrames
	case llm.Invoke:
		h["Content-Type"], h["X-Amzn-Bedrock-Content-Type"] = typeFrames, typeJSON
	}
	if v := a.Header["Content-Type"]; len(v) > 0 && (!c.converses() || strings.HasPrefix(v[0], "text/event-stream")) {
		h["Content-Type"] = v[:1]
	}
	if v := a.Header["Content-Length"]; a.Raw && len(v) > 0 {
		h["Content-Length"] = v[:1]
	}
	h["Cache-Control"] = noCache
	h["X-Accel-Buffering"] = noBuffer
	c.out.Start(http.StatusOK)
}

// withUsage puts the estimated usage, for which the client has asked, before the end of a stream whose provider did not
// count.
func (c *Call) withUsage(last []byte) []byte {
	in, ok := provider.InboundOf(c.route.endpoint)
	if !ok || !c.route.endpoint.UsageChunk() || len(bytes.TrimSpace(last)) > 0 && !bytes.Contains(last, []byte("[DONE]")) {
		return last
	}
	enc := in.NewEncoder(&chat.Request{Model: c.asked(), Stream: true, IncludeUsage: true})
	var b []byte
	for _, chunk := range []chat.Chunk{{Type: chat.ChunkStart, ID: c.id}, {Type: chat.ChunkUsage, Usage: c.result.usage}, {Type: chat.ChunkEnd}} {
		b = enc.Encode(b, &chunk)
	}
	return b
}

// endStream settles, then sends the last event.
func (s *Server) endStream(c *Call, a *Answer) error {
	told := !c.uncounted()
	if c.own == nil && !c.retold && !a.Raw && c.billed().Family() == llm.FamilyConversation {
		c.view.Deployment(&c.result.target).Counting.Ended(told)
	}
	told = told || a.Translated
	s.complete(c)
	if c.fields.IncludeUsage && !told && c.converses() {
		c.last = c.withUsage(c.last)
	}
	s.beginStream(c, a)
	s.settle(c, nil) // what is pending waits for the journal's write, which is as fast as its own
	c.pending = append(c.pending, c.last...)
	if len(c.pending) == 0 || c.unsent != nil {
		return c.unsent
	}
	_, err := c.out.Write(c.pending) // the server pushes it out together with the answer's end
	c.pending = c.pending[:0]
	if err != nil {
		return gone(err)
	}
	return nil
}
