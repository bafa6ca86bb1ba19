package upstream

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/upstream/http1"
)

// phase is what an attempt waits for.
type phase int32

const (
	waitConnect phase = iota
	waitFirstToken
	waitNext
)

// timeout is the cause with which a timer cancels an attempt.
type timeout struct{ code, text string }

// Error implements error.
func (t *timeout) Error() string { return t.text }

// What each timer says. total is for the timer that runs through all phases.
var (
	timeouts = [...]*timeout{
		waitConnect:    {"timeout_connect", "no connection in time"},
		waitFirstToken: {"timeout_first_token", "no first token in time"},
		waitNext:       {"timeout_between_chunks", "provider fell silent"},
	}
	total = &timeout{"timeout_total", "answer was not complete in time"}
)

// never is a wait without an end, as far as an attempt is concerned.
const never = 24 * time.Hour

// call is the running of one attempt: its context, its timer and the response's body, of which it
// is the reader. One timer serves all phases; it runs only while somebody waits for the provider.
type call struct {
	parent context.Context //nolint:containedctx // ends with the call
	ctx    context.Context //nolint:containedctx // as above
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limits Timeouts
	stream bool
	start  time.Time
	body   io.ReadCloser
	waits  func() // called before each read of a stream; nil: nobody wants to know

	left    time.Duration // of the current wait; 0 means that only the total counts
	phase   atomic.Int32  // of what the timer is about
	isTotal atomic.Bool   // the timer that runs is the total's
}

// begin starts the timer for the answer's beginning.
func (c *Client) begin(ctx context.Context, a *Attempt) *call {
	cl := &call{parent: ctx, limits: a.Timeouts.or(c.cfg.Timeouts), stream: a.Stream, start: time.Now()}
	cl.ctx, cl.cancel = context.WithCancelCause(ctx)
	cl.timer = time.AfterFunc(cl.untilAnswer(), cl.expire)
	return cl
}

// untilAnswer is how long the answer may still take to begin, which the timer is about now.
func (cl *call) untilAnswer() time.Duration {
	var d time.Duration
	if cl.stream && cl.limits.FirstToken > 0 {
		d = max(cl.limits.FirstToken-time.Since(cl.start), 1)
	}
	cl.phase.Store(int32(waitFirstToken))
	return cmp.Or(cl.bounded(d), never)
}

// connecting runs the timer for the connection, if it is the first to end, until net/http has one.
func (cl *call) connecting() context.Context {
	d := cl.limits.Connect
	if d <= 0 {
		return cl.ctx
	}
	if d < cl.untilAnswer() {
		cl.phase.Store(int32(waitConnect))
		cl.isTotal.Store(false)
		cl.timer.Reset(d)
	}
	return httptrace.WithClientTrace(cl.ctx, &httptrace.ClientTrace{GotConn: cl.connected})
}

// connected goes on to the timer for the answer's beginning.
func (cl *call) connected(httptrace.GotConnInfo) { cl.timer.Reset(cl.untilAnswer()) }

// expire cancels the attempt. It runs when the timer fires.
func (cl *call) expire() {
	if cl.isTotal.Load() {
		cl.cancel(total)
		return
	}
	cl.cancel(timeouts[cl.phase.Load()])
}

// bounded is the shorter of d and what is left of the total. 0 means without end.
func (cl *call) bounded(d time.Duration) time.Duration {
	if cl.limits.Total <= 0 {
		cl.isTotal.Store(false)
		return d
	}
	rest := max(cl.limits.Total-time.Since(cl.start), 1)
	if d <= 0 || rest < d {
		cl.isTotal.Store(true)
		return rest
	}
	cl.isTotal.Store(false)
	return d
}

// firstEvent is how long the first event may still take once the header has come.
func (cl *call) firstEvent() time.Duration {
	if cl.limits.FirstToken <= 0 {
		cl.phase.Store(int32(waitNext))
		return cl.limits.Idle
	}
	cl.phase.Store(int32(waitFirstToken))
	return max(cl.limits.FirstToken-time.Since(cl.start), 1)
}

// await begins another wait, of d at most.
func (cl *call) await(d time.Duration) { cl.left = d }

// Read reads the body while the timer runs.
func (cl *call) Read(p []byte) (int, error) {
	if cl.waits != nil {
		cl.waits()
	}
	began := time.Now()
	if wait := cl.bounded(cl.left); wait > 0 {
		cl.timer.Reset(wait)
	}
	n, err := cl.body.Read(p)
	cl.timer.Stop()
	if cl.left > 0 {
		cl.left = max(cl.left-time.Since(began), 1)
	}
	return n, err
}

// stop ends the timer and the context.
func (cl *call) stop() {
	cl.timer.Stop()
	cl.cancel(nil)
}

// close ends the call. A body that was read to its end gives its connection back.
func (cl *call) close() {
	_ = cl.body.Close() // nothing more is wanted of it
	cl.stop()
}

// failure makes the error of a transport's. It never is io.EOF, by which callers know that a
// stream is whole.
func (cl *call) failure(err error) *llm.Error {
	if errors.Is(err, io.EOF) && !isProxys(err) {
		err = io.ErrUnexpectedEOF
	}
	var t *timeout
	said, _ := errors.AsType[*llm.Error](err) // by a plugin's host
	if errors.Is(err, http1.ErrConnect) {
		t = timeouts[waitConnect]
	}
	switch cause := context.Cause(cl.ctx); {
	case errors.As(cause, &t) || t != nil && cause == nil:
		return &llm.Error{Kind: llm.Timeout, Code: t.code, Message: "The provider did not answer in time: " + t.text + ".", Err: err}
	case errors.Is(cl.parent.Err(), context.DeadlineExceeded):
		return &llm.Error{Kind: llm.Timeout, Code: total.code, Message: "The provider did not answer in time.", Err: err}
	case cl.parent.Err() != nil:
		return &llm.Error{Kind: llm.Canceled, Code: "canceled", Message: "The client went away.", Err: err}
	case said != nil:
		return said
	case errors.Is(err, llm.ErrEventTooLarge):
		return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent an event that is too large.", Err: err}
	case cl.body != nil && !isProxys(err):
		return &llm.Error{Kind: llm.Upstream, Code: "upstream_cut", Message: "The provider's answer was cut.", Err: err}
	}
	return unreached(err)
}
