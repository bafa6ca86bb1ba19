package upstream

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/openai"
)

// phase is what an attempt waits for.
type phase int32

const (
	waitHeader phase = iota
	waitFirstToken
	waitNext
)

// timeout is the cause with which a timer cancels an attempt.
type timeout string

// Error implements error.
func (t timeout) Error() string { return string(t) }

// What each timer says. total is for the timer that runs through all phases.
var (
	timeouts = [...]timeout{
		waitHeader:     "no response header in time",
		waitFirstToken: "no first token in time",
		waitNext:       "provider fell silent",
	}
	total timeout = "answer was not complete in time"
)

// call is the running of one attempt: its context, its timer and the response's body, of which it
// is the reader. One timer serves all phases; it runs only while somebody waits for the provider.
type call struct {
	parent context.Context //nolint:containedctx // ends with the call
	ctx    context.Context //nolint:containedctx // as above
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limits Timeouts
	start  time.Time
	body   io.ReadCloser
	waits  func() // called before each read of a stream; nil: nobody wants to know

	left    time.Duration // of the current wait; 0 means that only the total counts
	phase   atomic.Int32  // of what the timer is about
	isTotal atomic.Bool   // the timer that runs is the total's
}

// begin starts the timer for the response's header.
func (c *Client) begin(ctx context.Context, a *Attempt) *call {
	cl := &call{parent: ctx, limits: a.Timeouts.or(c.cfg.Timeouts), start: time.Now()}
	cl.ctx, cl.cancel = context.WithCancelCause(ctx)
	first := cl.limits.Header
	if a.Stream && cl.limits.FirstToken > 0 && (first == 0 || cl.limits.FirstToken < first) {
		first = cl.limits.FirstToken
	}
	wait := cl.bounded(first)
	if wait <= 0 {
		wait = 24 * time.Hour
	}
	cl.timer = time.AfterFunc(wait, cl.expire)
	return cl
}

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

// firstEvent is how long the first event may still take.
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
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	var t timeout
	var refused *AddrError
	var unsigned *signError
	switch cause := context.Cause(cl.ctx); {
	case errors.As(cause, &t):
		return &llm.Error{Kind: llm.Timeout, Code: "upstream_timeout", Message: "The provider did not answer in time: " + string(t) + ".", Err: err}
	case errors.Is(cl.parent.Err(), context.DeadlineExceeded):
		return &llm.Error{Kind: llm.Timeout, Code: "upstream_timeout", Message: "The provider did not answer in time.", Err: err}
	case cl.parent.Err() != nil:
		return &llm.Error{Kind: llm.Canceled, Code: "canceled", Message: "The client went away.", Err: err}
	case errors.As(err, &unsigned):
		return &llm.Error{Kind: llm.Upstream, Code: openai.CodeCredentials, Message: "The deployment's credential cannot be used.", Err: err}
	case errors.As(err, &refused):
		return &llm.Error{Kind: llm.Upstream, Code: "address_refused", Message: "The deployment's address is not allowed here.", Err: err}
	case errors.Is(err, llm.ErrEventTooLarge):
		return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent an event that is too large.", Err: err}
	case cl.body != nil:
		return &llm.Error{Kind: llm.Upstream, Code: "upstream_cut", Message: "The provider's answer was cut.", Err: err}
	}
	return &llm.Error{Kind: llm.Upstream, Code: "upstream_unreachable", Message: "The provider could not be reached.", Err: err}
}
