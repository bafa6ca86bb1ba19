package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/conclave-llm/conclave/internal/clock"
)

// Conn is a verified connection. Unlike a bare tls.Conn it goes on after a write that ran
// into its deadline: what was cut off is sent before the next write.
type Conn struct {
	t       *Transport
	raw     *rawConn
	tls     *tls.Conn
	peer    string // node at the other end; "" for a stranger on join/1
	proto   string
	addr    string // that was dialled; "" for an accepted connection
	tracked bool   // guarded by t.mu

	once     sync.Once
	closeErr error
	writing  sync.Mutex // one Write at a time, so that a timeout is told to its own caller
	deadline atomic.Int64
}

// newConn wraps a TCP connection; tls is set by the caller.
func newConn(t *Transport, raw net.Conn) *Conn {
	return &Conn{t: t, raw: &rawConn{Conn: raw}}
}

// shake completes the handshake and notes who and what for.
func (c *Conn) shake(ctx context.Context) error {
	if err := c.tls.HandshakeContext(ctx); err != nil {
		return err
	}
	c.raw.patient.Store(true)
	state := c.tls.ConnectionState()
	c.proto = state.NegotiatedProtocol
	if len(state.PeerCertificates) > 0 {
		c.peer = nodeID(state.PeerCertificates[0])
	}
	return nil
}

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.tls.Read(b)
	if !c.t.reaches(c.addr) {
		return 0, errUnreachable
	}
	return n, err
}

// Write implements net.Conn. If the deadline passes while it waits, the bytes counted are
// sent by the next Write, and the error is os.ErrDeadlineExceeded.
func (c *Conn) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if !c.t.reaches(c.addr) {
		return 0, errUnreachable
	}
	if d := c.deadline.Load(); d != 0 && clock.Steady().UnixNano() >= d {
		return 0, os.ErrDeadlineExceeded
	}
	n, err := c.tls.Write(b)
	if c.raw.cut.Swap(false) && err == nil {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	c.once.Do(func() {
		c.raw.closing.Store(true)
		c.closeErr = c.tls.Close()
		_ = c.raw.Close()
		c.t.untrack(c)
	})
	return c.closeErr
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.raw.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	var d int64
	if !t.IsZero() {
		d = clock.Steady().Add(time.Until(t)).UnixNano()
	}
	c.deadline.Store(d)
	return c.raw.SetWriteDeadline(t)
}

// rawConn is what TLS writes to. TLS gives a connection up when a record is cut off by a
// deadline; rawConn keeps the rest of the record instead and says that it was written.
type rawConn struct {
	net.Conn
	patient atomic.Bool // the handshake is over
	closing atomic.Bool // Close was called: nothing waits for a peer that does not read
	cut     atomic.Bool // a deadline passed since the last look
	rest    []byte      // accepted from TLS, not yet sent; guarded by TLS's lock on its output
}

// Write implements net.Conn.
func (r *rawConn) Write(b []byte) (int, error) {
	if len(r.rest) > 0 {
		if r.closing.Load() {
			return 0, net.ErrClosed
		}
		n, err := r.Conn.Write(r.rest)
		r.rest = r.rest[n:]
		if err != nil {
			return r.keep(b, 0, err)
		}
		r.rest = nil
	}
	n, err := r.Conn.Write(b)
	if err != nil {
		return r.keep(b, n, err)
	}
	return n, nil
}

// keep takes over b[n:] if err is only a deadline.
func (r *rawConn) keep(b []byte, n int, err error) (int, error) {
	if !r.patient.Load() || r.closing.Load() || !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	r.cut.Store(true)
	r.rest = append(r.rest, b[n:]...)
	return len(b), nil
}
