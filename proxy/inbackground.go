package proxy

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/url"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/background"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/proxy/stored"
)

// backgroundLook is how often the maker of a response looks whether it was cancelled elsewhere.
const backgroundLook = 500 * time.Millisecond

// errDetached ends the way of a request whose response another call makes.
var errDetached = errors.New("the response is made in the background")

// detach has a response made in the background by a call of its own, which takes all the steps and
// leaves the record. The client hears what that is told until the response has its id.
func (s *Server) detach(ctx context.Context, c *Call) error {
	leave, ok := s.live.Enter()
	if !ok {
		return &llm.Error{Kind: llm.Unavailable, Code: "node_stopping", RetryAfter: time.Second, Message: "This node stops. Ask another one."}
	}
	making, cancel := context.WithCancelCause(s.live.Context())
	run := background.New(cancel)
	b := s.calls.Get().(*Call)
	body := stored.Detached(c.body)
	b.came = came{
		id: c.id, route: c.route, path: c.path, named: c.named, peer: c.peer, header: c.header.Clone(), started: c.started,
		in: reply.Bytes{Reader: bytes.NewReader(body)}, length: int64(len(body)), out: background.Answer{Run: run}, run: run,
	}
	b.header.Del("Content-Length")
	c.detached = true
	go func() {
		defer leave()
		defer cancel(nil)
		s.make(making, b, run)
	}()
	select {
	case <-ctx.Done(): // the response is made anyway, and can be found in no list
		run.Cancel()
		return gone(ctx.Err())
	case <-run.Ended:
	case <-run.Begun:
	}
	id, first := run.First()
	if id == "" {
		return s.answerRefused(c, run)
	}
	if c.fields.Stream {
		return s.follow(ctx, c, run, -1)
	}
	c.out.Header()["Content-Type"] = typeJSON
	c.result.status, c.result.begun = 200, true
	s.answerHeaders(c, c.out.Header())
	c.out.Start(200)
	if _, err := c.out.Write(first); err != nil {
		return gone(err)
	}
	return errDetached
}

// make serves the call of a response in the background, and writes how it ended.
func (s *Server) make(ctx context.Context, b *Call, run *background.Run) {
	defer run.End()
	defer s.recycle(b)
	s.serveAside(ctx, b)
	id, _ := run.First()
	if id == "" {
		return
	}
	e := run.Failure()
	switch {
	case ctx.Err() != nil:
		e = &llm.Error{Code: "node_stopping", Message: "The node that made the response stops. What it had used is charged; ask again."}
	case e == nil:
		e = &llm.Error{Code: "server_error", Message: "The response ended without an answer that could be stored."}
	}
	if e.Code == "" {
		e.Code = "server_error"
	}
	b.turn.Fail(context.WithoutCancel(ctx), e)
	s.runs.Over(id)
}

// beginRun tells the cluster of a response that is about to be made, so that every node finds it.
func (s *Server) beginRun(ctx context.Context, c *Call) error {
	by, ok := s.cfg.Maker()
	if !ok {
		return &llm.Error{Kind: llm.Unavailable, Code: "no_leader", Param: "background", RetryAfter: time.Second, Message: "This node cannot make responses in the background yet."}
	}
	first, err := c.turn.Begin(ctx, c.body, c.owners(), by)
	if err != nil {
		return err
	}
	id := c.turn.ID()
	s.runs.Add(id, c.run)
	c.run.Begin(id, first)
	go s.watchRun(ctx, id, c.run)
	return nil
}

// watchRun ends the making of a response that was cancelled on another node.
func (s *Server) watchRun(ctx context.Context, id string, run *background.Run) {
	tick := time.NewTicker(backgroundLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-run.Ended:
			return
		case <-tick.C:
			if s.keeper.Ended(id) {
				run.Cancel()
				return
			}
		}
	}
}

// answerRefused hands on why the response was refused before it began.
func (s *Server) answerRefused(c *Call, run *background.Run) error {
	status, header, body := run.Refusal()
	if status == 0 {
		return &llm.Error{Kind: llm.Internal, Message: "The gateway failed."}
	}
	maps.Copy(c.out.Header(), header)
	c.result.status, c.result.begun = status, true
	c.out.Start(status)
	if _, err := c.out.Write(body); err != nil {
		return gone(err)
	}
	return errDetached
}

// follow streams what a response in the background says behind a number.
func (s *Server) follow(ctx context.Context, c *Call, run *background.Run, after int64) error {
	c.result.status, c.result.begun = 200, true
	h := c.out.Header()
	s.answerHeaders(c, h)
	h["Content-Type"], h["Cache-Control"], h["X-Accel-Buffering"] = typeEvents, noCache, noBuffer
	c.out.Start(200)
	if err := c.out.Flush(); err != nil {
		return gone(err)
	}
	err := run.Follow(ctx, after, func(raw []byte) error {
		if _, err := c.out.Write(raw); err != nil {
			return gone(err)
		}
		return c.out.Flush()
	})
	var e *llm.Error
	if errors.As(err, &e) && e.Kind != llm.Canceled {
		_, err = c.out.Write(reply.ErrorEvent(e, llm.VendorOpenAI, llm.Responses))
	}
	if err != nil {
		return gone(err)
	}
	return errDetached
}

// followAgain streams a response in the background to who asks for it again.
func (s *Server) followAgain(ctx context.Context, c *Call, q url.Values) error {
	after := int64(-1)
	if v := q.Get("starting_after"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 {
			return &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: "starting_after", Message: "The parameter \"starting_after\" must be the number of an event."}
		}
		after = n
	}
	if _, err := s.keeper.Response(ctx, c.who, c.named); err != nil { // it must be the caller's
		return err
	}
	run := s.runs.Find(c.named)
	if run == nil {
		return &llm.Error{
			Kind: llm.Invalid, Code: "stream_not_here", Param: "stream", NoRetry: true,
			Message: "This node has no events of the response: it was made elsewhere, too long ago, or not in the background. Ask without \"stream\" for what it says.",
		}
	}
	return s.follow(ctx, c, run, after)
}
