package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/router"
)

// relay sends a stream on, event by event as it comes. The head of the answer waits for the
// first event, so that another deployment can still be tried, and the last event waits for
// the settled record.
func (s *Server) relay(ctx context.Context, c *Call, a *Answer, flight router.Flight) error {
	check, err := s.streamCheck(ctx, c)
	if err != nil {
		return err
	}
	if check != nil {
		defer check.Close()
	}
	done := false
	for !done {
		ev, err := a.Stream.Next()
		c.result.usage = a.Stream.Usage()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		s.noteEvent(c, &ev, flight)
		switch {
		case ev.Done:
			done = true
			c.last = append(c.last[:0], ev.Raw...)
		case ev.UsageOnly && c.addedUsage:
			// The client did not ask for it.
		default:
			if err := s.pass(c, a, check, ev.Raw); err != nil {
				return err
			}
		}
	}
	if check != nil {
		release, err := check.Finish()
		if err := s.send(c, a, release, err); err != nil {
			return err
		}
	}
	return s.endStream(c, a)
}

// streamCheck begins to check the stream, if a guardrail wants to.
func (s *Server) streamCheck(ctx context.Context, c *Call) (StreamCheck, error) {
	if c.guards == nil {
		return nil, nil
	}
	return c.guards.Stream(ctx, c.guardRequest())
}

// noteEvent counts what passed.
func (s *Server) noteEvent(c *Call, ev *Event, flight router.Flight) {
	if c.result.firstToken == 0 && !ev.Done {
		now := s.now()
		c.result.firstToken = now.Sub(c.started)
		c.result.waited += now.Sub(c.result.answered)
		flight.FirstToken(now.Sub(c.result.dialled))
	}
	c.result.text += int64(ev.Text)
}

// pass sends one event on, or what the guardrails release of it.
func (s *Server) pass(c *Call, a *Answer, check StreamCheck, raw []byte) error {
	if check == nil {
		return s.sendOne(c, a, raw)
	}
	release, err := check.Feed(raw)
	return s.send(c, a, release, err)
}

// send sends the events that the guardrails released, also those before a block.
func (s *Server) send(c *Call, a *Answer, events [][]byte, blocked error) error {
	for _, raw := range events {
		if err := s.sendOne(c, a, raw); err != nil {
			return err
		}
	}
	if blocked == nil {
		return nil
	}
	if e, ok := errors.AsType[*llm.Error](blocked); ok && e.Kind == llm.Blocked {
		return c.blocked(e.Scope, e.Message)
	}
	return blocked
}

// sendOne writes one event and pushes it out.
func (s *Server) sendOne(c *Call, a *Answer, raw []byte) error {
	s.beginStream(c, a)
	if _, err := c.out.Write(raw); err != nil {
		return gone(err)
	}
	if err := c.out.Flush(); err != nil {
		return gone(err)
	}
	return nil
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
	h["Content-Type"] = typeEvents
	if v := a.Header["Content-Type"]; len(v) > 0 {
		h["Content-Type"] = v[:1]
	}
	h["Cache-Control"] = noCache
	h["X-Accel-Buffering"] = noBuffer
	c.out.Start(http.StatusOK)
}

// endStream settles, then sends the last event.
func (s *Server) endStream(c *Call, a *Answer) error {
	if c.result.usage.Source == llm.UsageNone {
		c.result.usage = s.estimateUsage(c)
	}
	s.beginStream(c, a)
	s.settle(c, nil)
	if len(c.last) == 0 {
		return nil
	}
	return s.sendOne(c, a, c.last)
}
