// Package http1 sends requests to plain http:// servers without goroutines of its own: the
// goroutine of the caller writes the request and reads the answer. net/http's Transport
// hands both to two goroutines for each connection, which costs a gateway more than all of
// its own work. Responses are parsed by net/http.
//
// It serves what a gateway's attempts need and no more: POST over HTTP/1.1 with a body that
// is in memory. TLS, HTTP/2, proxies and large bodies are left to net/http.
package http1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// MaxBody is the largest body of a request that RoundTrip takes. A server may answer before
// it has read all of a body, which who writes first and reads then sees only if what is left
// of it fits into the sockets' buffers.
const MaxBody = 64 << 10

const (
	maxHeader   = 256 << 10 // of an answer
	maxInterim  = 8         // answers of 1xx before the one that counts
	keepBuffer  = 16 << 10  // a larger write buffer is not kept
	readBuffer  = 8 << 10
	idleTimeout = 75 * time.Second
)

var (
	// ErrConnect says that there was no connection in the time for it.
	ErrConnect = errors.New("no connection in time")

	errHeader  = errors.New("response header is too large")
	errInterim = errors.New("server sent too many interim responses")
	errSwitch  = errors.New("server switched protocols unasked")
)

// Transport keeps connections to one host. It is safe for concurrent use.
type Transport struct {
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	addr    string // host:port
	host    string // as it stands in the header
	maxIdle int

	mu     sync.Mutex
	idle   []*conn // the one used last is at the end
	closed bool
}

// New returns a transport for the host of u, whose scheme must be http. It keeps at most
// maxIdle idle connections.
func New(u *url.URL, maxIdle int, dial func(ctx context.Context, network, addr string) (net.Conn, error)) *Transport {
	addr := u.Host
	if u.Port() == "" {
		addr = net.JoinHostPort(u.Hostname(), "80")
	}
	return &Transport{dial: dial, addr: addr, host: u.Host, maxIdle: maxIdle}
}

// RoundTrip sends a request of method, u's path and the headers with the body, and returns
// the answer, whose body must be read to its end or closed. When ctx ends, the connection
// is cut, and what reads from it fails. Connecting, if it must, takes no longer than connect,
// unless that is 0 or less.
//
// A request is sent again only if its connection was closed before it: whether a server has
// acted on one that it did not answer is for the caller to judge.
func (t *Transport) RoundTrip(ctx context.Context, u *url.URL, header http.Header, body []byte, connect time.Duration) (*http.Response, error) {
	c, err := t.take(ctx, connect)
	if err != nil {
		return nil, err
	}
	if err := c.encode(u, t.host, header, body); err != nil {
		t.put(c)
		return nil, err
	}
	c.stop = context.AfterFunc(ctx, c.cut)
	res, err := c.exchange()
	if err != nil {
		c.stop()
		_ = c.Close() // it is of no further use, whatever closing says
		return nil, err
	}
	b := &answer{transport: t, conn: c, body: res.Body, reuse: !res.Close}
	if res.Body == http.NoBody {
		b.finish()
	}
	res.Body = b
	return res, nil
}

// Close closes the connections that are idle. Those in use close after their answers.
func (t *Transport) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.dropLocked(len(t.idle))
}

// dropLocked closes the n connections that are idle for longest.
func (t *Transport) dropLocked(n int) {
	for _, c := range t.idle[:n] {
		_ = c.Close() // nobody waits for it
	}
	t.idle = append(t.idle[:0], t.idle[n:]...)
}

// take returns an idle connection that is still open, or a new one.
func (t *Transport) take(ctx context.Context, connect time.Duration) (*conn, error) {
	for c := t.pop(); c != nil; c = t.pop() {
		if c.open() {
			return c, nil
		}
		_ = c.Close() // the server has closed it
	}
	if connect > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, connect, ErrConnect)
		defer cancel()
	}
	nc, err := t.dial(ctx, "tcp", t.addr)
	switch {
	case err == nil:
		return newConn(nc), nil
	case errors.Is(context.Cause(ctx), ErrConnect):
		return nil, fmt.Errorf("%w: %w", ErrConnect, err)
	}
	return nil, err
}

func (t *Transport) pop() *conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(t.idle)
	if n == 0 {
		return nil
	}
	c := t.idle[n-1]
	t.idle = t.idle[:n-1]
	return c
}

// put keeps a connection for the next request.
func (t *Transport) put(c *conn) {
	now := time.Now()
	c.since = now
	t.mu.Lock()
	defer t.mu.Unlock()
	old := 0
	for old < len(t.idle) && now.Sub(t.idle[old].since) > idleTimeout {
		old++
	}
	if old > 0 {
		t.dropLocked(old)
	}
	if t.closed || len(t.idle) >= t.maxIdle {
		_ = c.Close() // one too many
		return
	}
	t.idle = append(t.idle, c)
}

// conn is one connection, used by one goroutine at a time.
type conn struct {
	net.Conn
	peek  peeker
	br    *bufio.Reader
	out   []byte
	left  int // bytes that may still be read; counts while a header is read
	since time.Time
	stop  func() bool
}

func newConn(nc net.Conn) *conn {
	c := &conn{Conn: nc, peek: newPeeker(nc)}
	c.br = bufio.NewReaderSize(c, readBuffer)
	return c
}

// Read reads from the connection, no more than is left of a header's allowance.
func (c *conn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errHeader
	}
	n, err := c.Conn.Read(p)
	c.left -= n
	return n, err
}

// cut makes all reads and writes of the connection fail.
func (c *conn) cut() { _ = c.SetDeadline(time.Unix(1, 0)) } // a closed one fails anyway

// open says that the server has neither closed the connection nor sent anything unasked.
func (c *conn) open() bool {
	return time.Since(c.since) < idleTimeout && c.br.Buffered() == 0 && c.peek.quiet()
}

// encode writes the request into c.out.
func (c *conn) encode(u *url.URL, host string, header http.Header, body []byte) error {
	b := append(c.out[:0], "POST "...)
	b = append(b, u.RequestURI()...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, host...)
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	for name, values := range header {
		for _, v := range values {
			if strings.ContainsAny(v, "\r\n\x00") || strings.ContainsAny(name, "\r\n\x00: ") || name == "" {
				return fmt.Errorf("header %q has a forbidden character", name)
			}
			b = append(b, "\r\n"...)
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, v...)
		}
	}
	b = append(b, "\r\n\r\n"...)
	c.out = append(b, body...)
	return nil
}

// exchange sends what encode wrote and reads the header of the answer.
func (c *conn) exchange() (*http.Response, error) {
	_, sent := c.Write(c.out)
	if cap(c.out) > keepBuffer {
		c.out = nil
	}
	// A server that refuses a request may close before it has read all of it: its answer counts.
	for range maxInterim {
		c.left = maxHeader
		res, err := http.ReadResponse(c.br, nil)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, errors.Join(sent, err)
		}
		switch {
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errSwitch
		case res.StatusCode < 100 || res.StatusCode >= 200:
			res.Close = res.Close || sent != nil
			c.left = int(^uint(0) >> 1)
			return res, nil
		}
	}
	return nil, errInterim
}

// answer is the body of a response. Its end gives the connection back.
type answer struct {
	transport *Transport
	conn      *conn // nil once done
	body      io.ReadCloser
	reuse     bool
	end       error // what Read returns once done
}

// Read implements io.Reader.
func (a *answer) Read(p []byte) (int, error) {
	if a.conn == nil {
		return 0, a.end
	}
	n, err := a.body.Read(p)
	if err == io.EOF {
		a.finish()
	}
	return n, err
}

// finish ends the answer whose body was read to its end.
func (a *answer) finish() {
	c := a.conn
	a.conn, a.end = nil, io.EOF
	if c.stop() && a.reuse && c.br.Buffered() == 0 {
		a.transport.put(c)
		return
	}
	_ = c.Close() // it cannot be used again
}

// Close cuts an answer that was not read to its end.
func (a *answer) Close() error {
	if a.conn == nil {
		return nil
	}
	c := a.conn
	a.conn, a.end = nil, http.ErrBodyReadAfterClose
	c.stop()
	return c.Close()
}
