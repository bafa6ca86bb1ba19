package transport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/conclave-llm/conclave/internal/clock"
)

// errBroken says that a connection ended under a call.
var errBroken = errors.New("connection broke")

// silence is how long a connection may say nothing while calls run out of time before it is taken for dead: the
// other end may know nothing of it, and TCP finds out only when it sends again, each time after twice as long.
const silence = 2 * time.Second

// peer is the way to call one node.
type peer struct {
	rpc  *RPC
	id   string
	turn chan struct{} // holds a token while somebody dials

	mu   sync.Mutex // guards conn
	conn *callConn
}

// connect returns the open connection or dials; concurrent callers share one dial.
func (p *peer) connect(ctx context.Context) (c *callConn, fresh bool, err error) {
	if c := p.current(); c != nil {
		return c, false, nil
	}
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	defer func() { <-p.turn }()
	if c := p.current(); c != nil {
		return c, false, nil
	}
	if p.rpc.ctx.Err() != nil {
		return nil, false, ErrClosed
	}
	addr, ok := p.rpc.resolve(p.id)
	if !ok {
		return nil, false, fmt.Errorf("no address of node %s", p.id)
	}
	nc, err := p.rpc.t.DialNode(ctx, addr, Calls, p.id)
	if err != nil {
		return nil, false, err
	}
	c = newCallConn(nc)
	p.rpc.wg.Go(c.read)
	p.mu.Lock()
	p.conn = c
	p.mu.Unlock()
	if p.rpc.ctx.Err() != nil {
		c.fail()
	}
	return c, true, nil
}

// current is the connection, if it is whole.
func (p *peer) current() *callConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.conn == nil:
	case p.conn.silent():
		p.rpc.wg.Go(p.conn.fail) // aside: its writers may be stuck
		p.conn = nil
	case p.conn.broken():
		p.conn = nil
	}
	return p.conn
}

// hangUp breaks the connection.
func (p *peer) hangUp() {
	if c := p.current(); c != nil {
		c.fail()
	}
}

// callConn is one connection with the calls that wait on it.
type callConn struct {
	w      *frameWriter
	frames atomic.Uint64 // that came
	since  atomic.Int64  // when the first call was made that ran out of time with no frame since, nanoseconds of clock.Steady; 0: none

	mu      sync.Mutex // guards next, waiting, dead
	next    uint64
	waiting map[uint64]chan *frame
	dead    bool
}

func newCallConn(nc net.Conn) *callConn {
	return &callConn{w: &frameWriter{c: nc}, waiting: map[uint64]chan *frame{}}
}

// broken says that no more calls can be made.
func (c *callConn) broken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}

// silent says that calls have run out of time for so long, and nothing came.
func (c *callConn) silent() bool {
	since := c.since.Load()
	return since != 0 && clock.Steady().UnixNano()-since > int64(silence)
}

// fail breaks the connection: calls that wait get nothing.
func (c *callConn) fail() {
	c.mu.Lock()
	waiting := c.waiting
	c.dead, c.waiting = true, nil
	c.mu.Unlock()
	_ = c.w.c.Close()
	for _, ch := range waiting {
		close(ch)
	}
}

// read gives the answers out.
func (c *callConn) read() {
	defer c.fail()
	br := bufio.NewReaderSize(c.w.c, 64<<10)
	for {
		f, err := readFrame(br)
		if err != nil || f.kind == frameCall {
			return
		}
		c.frames.Add(1)
		c.since.Store(0)
		c.mu.Lock()
		ch := c.waiting[f.id]
		delete(c.waiting, f.id)
		c.mu.Unlock()
		if ch != nil {
			ch <- f // has room for one
		}
	}
}

// call sends one call and waits for its answer. errBroken: it may or may not have been done.
func (c *callConn) call(ctx context.Context, method string, body []byte) ([]byte, error) {
	deadline, _ := ctx.Deadline()
	start, frames := clock.Steady().UnixNano(), c.frames.Load()
	ch := make(chan *frame, 1)
	c.mu.Lock()
	if c.dead {
		c.mu.Unlock()
		return nil, errBroken
	}
	c.next++
	id := c.next
	c.waiting[id] = ch
	c.mu.Unlock()
	f := frame{kind: frameCall, id: id, timeout: time.Until(deadline), name: method, body: body}
	if err := c.w.write(&f, deadline); err != nil {
		if errors.Is(err, errEncode) {
			c.forget(id)
			return nil, err
		}
		c.fail()
		return nil, fmt.Errorf("%w: %w", errBroken, err)
	}
	select {
	case a, ok := <-ch:
		switch {
		case !ok:
			return nil, errBroken
		case a.kind == frameError:
			return nil, decode(a)
		default:
			return a.body, nil
		}
	case <-ctx.Done():
		c.forget(id)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && c.frames.Load() == frames {
			c.since.CompareAndSwap(0, start)
		}
		if c.silent() {
			c.fail() // do not wait for TCP to notice
		}
		return nil, fmt.Errorf("call %s: %w: %w", method, ErrUnknown, ctx.Err())
	}
}

// forget drops a call that nobody waits for any more.
func (c *callConn) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

// errEncode says that a frame could not be made; nothing was sent.
var errEncode = errors.New("encode frame")

// frameWriter writes whole frames, one at a time.
type frameWriter struct {
	c net.Conn

	mu  sync.Mutex // guards buf and the order on the wire
	buf []byte
}

// write sends f before the deadline or breaks the connection's sense.
func (w *frameWriter) write(f *frame, deadline time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	b, err := f.appendTo(w.buf[:0])
	if err != nil {
		return fmt.Errorf("%w: %w", errEncode, err)
	}
	if w.buf = b; cap(b) > 1<<20 {
		w.buf = nil
	}
	if err := w.c.SetWriteDeadline(deadline); err != nil {
		return err
	}
	_, err = w.c.Write(b)
	return err
}
