// Package session carries questions to the process of a plugin, and its answers back, over one stream
// of gRPC for all of them: a question is a message in it, not a call. The contracts of plugins that are
// asked within requests share it, with messages of their own.
package session

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc"
)

// maxWaiting bounds the messages that wait to be written to a plugin that does not read.
const maxWaiting = 256

// ErrNotRunning is why there is no answer of a process that is not there any more.
var ErrNotRunning = errors.New("plugin is not running")

// Answer is a plugin's message: it carries the id of what it answers.
type Answer[P any] interface {
	*P
	GetId() uint64
}

// Client asks one plugin process. Many questions are under way at a time; it may be used concurrently.
type Client[Q, P any, A Answer[P]] struct {
	out    chan *Q
	giveUp func(id uint64) *Q
	signs  Signs

	ctx    context.Context    // of the session: its life, not a request's
	cancel context.CancelFunc // ends the session
	wg     sync.WaitGroup

	mu      sync.Mutex // guards what follows
	pending map[uint64]chan A
	last    uint64 // id of the newest question
	err     error  // why the session ended
}

// NewClient makes a client that is not connected yet. giveUp makes the message that says that nobody
// waits for the answer with the id.
func NewClient[Q, P any, A Answer[P]](giveUp func(id uint64) *Q) *Client[Q, P, A] {
	ctx, cancel := context.WithCancel(context.Background()) //nolint:gosec // Close calls it
	return &Client[Q, P, A]{
		out: make(chan *Q, maxWaiting), giveUp: giveUp, ctx: ctx, cancel: cancel, pending: make(map[uint64]chan A),
	}
}

// Open opens the session with the method of the plugin's service. It is called once.
func (c *Client[Q, P, A]) Open(method func(context.Context, ...grpc.CallOption) (grpc.BidiStreamingClient[Q, P], error), opts ...grpc.CallOption) error {
	stream, err := method(c.ctx, opts...)
	if err != nil {
		return fmt.Errorf("open session: %w", err)
	}
	c.wg.Go(func() { c.send(stream) })
	c.wg.Go(func() { c.receive(stream) })
	return nil
}

// Ask sends the message that question makes of an id, and waits for its answer. Without one before ctx
// ends it returns the cause, and tells the plugin that nobody waits. Errors of a process that is gone
// are ErrNotRunning.
func (c *Client[Q, P, A]) Ask(ctx context.Context, question func(id uint64) *Q) (A, error) {
	before := c.signs.Answered()
	a, err := c.ask(ctx, question)
	if err != nil {
		c.signs.Miss(ctx, before)
	}
	return a, err
}

// AskForSign is Ask of a question whose answer says only that the process lives.
func (c *Client[Q, P, A]) AskForSign(ctx context.Context, question func(id uint64) *Q) error {
	_, err := c.ask(ctx, func(id uint64) *Q {
		c.signs.Ping(id)
		return question(id)
	})
	return err
}

func (c *Client[Q, P, A]) ask(ctx context.Context, question func(id uint64) *Q) (A, error) {
	answer := make(chan A, 1)
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return nil, c.err
	}
	c.last++
	id := c.last
	c.pending[id] = answer
	c.mu.Unlock()
	if err := c.post(ctx, question(id)); err != nil {
		c.forget(id)
		return nil, err
	}
	select {
	case a := <-answer:
		if a == nil {
			return nil, c.cause()
		}
		return a, nil
	case <-ctx.Done():
		c.forget(id)
		select {
		case c.out <- c.giveUp(id):
		default: // the plugin does not read
		}
		return nil, context.Cause(ctx)
	}
}

func (c *Client[Q, P, A]) post(ctx context.Context, m *Q) error {
	select {
	case c.out <- m:
		return nil
	case <-c.ctx.Done():
		return c.cause()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *Client[Q, P, A]) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, id)
}

// Waiting counts the questions that wait for their answers.
func (c *Client[Q, P, A]) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pending)
}

// Signs are what was heard in the session.
func (c *Client[Q, P, A]) Signs() *Signs { return &c.signs }

// Done is closed when the session has ended.
func (c *Client[Q, P, A]) Done() <-chan struct{} { return c.ctx.Done() }

// Close ends the session and waits for its goroutines. Questions under way fail.
func (c *Client[Q, P, A]) Close() {
	c.fail(ErrNotRunning)
	c.wg.Wait()
}

func (c *Client[Q, P, A]) cause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		return ErrNotRunning
	}
	return c.err
}

func (c *Client[Q, P, A]) send(s grpc.BidiStreamingClient[Q, P]) {
	for {
		select {
		case m := <-c.out:
			if err := s.Send(m); err != nil {
				return // receive knows why
			}
		case <-c.ctx.Done():
			return
		}
	}
}

func (c *Client[Q, P, A]) receive(s grpc.BidiStreamingClient[Q, P]) {
	for {
		m, err := s.Recv()
		if err != nil {
			c.fail(fmt.Errorf("%w: session ended: %w", ErrNotRunning, err))
			return
		}
		a := A(m)
		c.signs.Hear(a.GetId())
		c.mu.Lock()
		answer, ok := c.pending[a.GetId()]
		delete(c.pending, a.GetId())
		c.mu.Unlock()
		if ok {
			answer <- a
		}
	}
}

// fail ends the session; everything that waits is told at once.
func (c *Client[Q, P, A]) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	for id, answer := range c.pending {
		answer <- nil
		delete(c.pending, id)
	}
	c.cancel()
}
