package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"
)

// The protocols of the cluster port, as ALPN names them.
const (
	Raft   = "raft/1"
	Calls  = "rpc/1" // of RPC
	Snap   = "snap/1"
	Quota  = "quota/1"
	Join   = "join/1"
	Gossip = "gossip/1"
)

const (
	defaultConnections = 512
	handshakeTimeout   = 5 * time.Second  // from accept to a verified peer
	deliverTimeout     = 5 * time.Second  // until the protocol's owner accepts
	joinDeadline       = 30 * time.Second // a stranger holds a connection no longer
	maxJoins           = 32               // strangers at once
	backlog            = 16               // connections waiting for one protocol's owner
)

// ErrClosed is returned after Close.
var ErrClosed = errors.New("cluster port is closed")

// protocols are all that the port speaks.
var protocols = []string{Raft, Calls, Snap, Quota, Join, Gossip}

// Config says how to listen and whom to let in.
type Config struct {
	Listen    string // host:port for TCP and UDP; port 0 takes a free one
	Advertise string // how the others reach the port; "": the address listened on

	// Identity returns this node's certificate with its CA behind it. It is asked at each
	// handshake, so a renewed certificate is used at once.
	Identity func() tls.Certificate
	// Former returns the certificate by the old CA, for peers that trust no other, while the
	// CA is exchanged, and nil else. Nil: there never is one.
	Former func() *tls.Certificate
	// Roots returns the CAs that peers may chain to.
	Roots func() *x509.CertPool
	// ClusterID returns the id that a peer's certificate must name.
	ClusterID func() string
	// Allowed says whether a node with a good certificate may talk to us; nil: until
	// Authorize is called, every one.
	Allowed func(nodeID string) bool

	// Reach says whether packets to an address arrive: the seam by which tests part nodes
	// that run in one process. Nil, as always in production: they do.
	Reach func(addr string) bool

	// Dial connects to another node's port; nil: directly.
	Dial func(ctx context.Context, addr string) (net.Conn, error)

	MaxConnections int                   // at once; 0: 512
	Logger         *slog.Logger          // nil: discard
	Registerer     prometheus.Registerer // nil: metrics are not registered
}

// Transport is the open cluster port.
type Transport struct {
	cfg     Config
	log     *slog.Logger
	tcp     net.Listener
	udp     net.PacketConn
	addr    string
	metrics *metrics
	allowed atomic.Pointer[func(string) bool]
	joins   atomic.Int32

	ctx    context.Context // the life of the port, not of a request
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.Mutex // guards listeners, conns
	listeners map[string]*listener
	conns     map[*Conn]struct{} // open ones, both directions
}

// New opens the port. Nothing is accepted for a protocol before its Listener is asked for.
func New(cfg Config) (*Transport, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = defaultConnections
	}
	tcp, udp, err := listen(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("open cluster port %s: %w", cfg.Listen, err)
	}
	t := &Transport{
		cfg: cfg, log: cfg.Logger, udp: udp, addr: cfg.Advertise,
		tcp:       netutil.LimitListener(tcp, cfg.MaxConnections),
		metrics:   newMetrics(cfg.Registerer),
		listeners: map[string]*listener{},
		conns:     map[*Conn]struct{}{},
	}
	if t.addr == "" {
		t.addr = tcp.Addr().String()
	}
	if cfg.Allowed != nil {
		t.Authorize(cfg.Allowed)
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.wg.Go(t.accept)
	return t, nil
}

// listen takes the same port for TCP and UDP.
func listen(addr string) (net.Listener, net.PacketConn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, nil, err
	}
	var lc net.ListenConfig
	ctx := context.Background()
	for try := 0; ; try++ {
		tcp, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			return nil, nil, err
		}
		got := tcp.Addr().(*net.TCPAddr).Port
		udp, err := lc.ListenPacket(ctx, "udp", net.JoinHostPort(host, strconv.Itoa(got)))
		if err == nil {
			return tcp, udp, nil
		}
		_ = tcp.Close()
		if port != "0" || try == 10 {
			return nil, nil, err
		}
	}
}

// Authorize sets who is allowed from now on, and hangs up on those who are not.
func (t *Transport) Authorize(allowed func(nodeID string) bool) {
	t.allowed.Store(&allowed)
	t.Sweep()
}

// Sweep hangs up on peers that are no longer allowed.
func (t *Transport) Sweep() {
	t.mu.Lock()
	var gone []*Conn
	for c := range t.conns {
		if c.peer != "" && !t.permits(c.peer) || !t.reaches(c.addr) {
			gone = append(gone, c)
		}
	}
	t.mu.Unlock()
	for _, c := range gone {
		t.log.Warn("hung up on a node that is no longer a member", "node", c.peer, "protocol", c.proto)
		_ = c.Close()
	}
}

// permits asks the callback.
func (t *Transport) permits(node string) bool {
	f := t.allowed.Load()
	return f == nil || (*f)(node)
}

// Addr is how the other nodes reach the port.
func (t *Transport) Addr() string { return t.addr }

// PacketConn is the UDP socket, for gossip. Close closes it.
func (t *Transport) PacketConn() net.PacketConn {
	if t.cfg.Reach != nil {
		return partedConn{t.udp, t}
	}
	return t.udp
}

// PeerID is the node at the other end of a connection made or accepted here; "" if it is a
// stranger or the connection is not ours.
func (t *Transport) PeerID(c net.Conn) string {
	if c, ok := c.(*Conn); ok {
		return c.peer
	}
	return ""
}

// accept hands each connection to a goroutine of its own; they end with a deadline.
func (t *Transport) accept() {
	for {
		raw, err := t.tcp.Accept()
		switch {
		case t.ctx.Err() != nil:
			return
		case err != nil: // out of file descriptors, or reset before we looked
			t.log.Warn("accept on the cluster port", "error", err)
			pause(t.ctx, 50*time.Millisecond)
		default:
			t.wg.Go(func() { t.welcome(raw) })
		}
	}
}

// welcome shakes hands and delivers the connection to its protocol's listener.
func (t *Transport) welcome(raw net.Conn) {
	ctx, cancel := context.WithTimeout(t.ctx, handshakeTimeout)
	defer cancel()
	c := newConn(t, raw)
	c.tls = tls.Server(c.raw, t.serverTLS())
	if err := c.shake(ctx); err != nil {
		t.metrics.refused.Inc()
		t.log.Warn("refused a connection on the cluster port", "remote", raw.RemoteAddr().String(), "error", err)
		_ = raw.Close()
		return
	}
	l := t.listener(c.proto)
	if l == nil || !t.track(c) {
		_ = c.Close()
		return
	}
	if c.proto == Join {
		_ = c.SetDeadline(time.Now().Add(joinDeadline))
	}
	timer := time.NewTimer(deliverTimeout)
	defer timer.Stop()
	select {
	case l.ch <- c:
	case <-l.done:
		_ = c.Close()
	case <-t.ctx.Done():
		_ = c.Close()
	case <-timer.C:
		t.log.Warn("nobody took a connection in time", "protocol", c.proto, "node", c.peer)
		_ = c.Close()
	}
}

// track counts an open connection; false if the port is closed or full of strangers.
func (t *Transport) track(c *Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil || (c.proto == Join && c.peer == "" && t.joins.Load() >= maxJoins) {
		return false
	}
	t.conns[c] = struct{}{}
	c.tracked = true
	t.metrics.connections.WithLabelValues(c.proto).Inc()
	if c.proto == Join {
		t.joins.Add(1)
	}
	return true
}

// untrack is called once, when c is closed.
func (t *Transport) untrack(c *Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !c.tracked {
		return
	}
	delete(t.conns, c)
	t.metrics.connections.WithLabelValues(c.proto).Dec()
	if c.proto == Join {
		t.joins.Add(-1)
	}
}

// Close closes the port and every connection, and waits for its goroutines.
func (t *Transport) Close() error {
	t.cancel()
	err := errors.Join(t.tcp.Close(), t.udp.Close())
	t.mu.Lock()
	var open []*Conn
	for c := range t.conns {
		open = append(open, c)
	}
	ls := make([]*listener, 0, len(t.listeners))
	for _, l := range t.listeners {
		ls = append(ls, l)
	}
	t.mu.Unlock()
	for _, l := range ls {
		_ = l.Close()
	}
	for _, c := range open {
		_ = c.Close()
	}
	t.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil // closed before
	}
	return err
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
