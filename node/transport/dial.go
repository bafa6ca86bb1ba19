package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/conclave-llm/conclave/egress"
)

// keepAlive finds peers that vanished without a word in about ten seconds.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 4 * time.Second, Interval: 2 * time.Second, Count: 3}

// Dial connects to whichever node of the cluster is at addr. The other side may still hang
// up: it judges our certificate after the handshake is over for us.
func (t *Transport) Dial(ctx context.Context, addr, proto string) (net.Conn, error) {
	return t.DialNode(ctx, addr, proto, "")
}

// DialNode connects to addr and gives ErrOtherNode if another node than id answers there;
// "" takes any.
func (t *Transport) DialNode(ctx context.Context, addr, proto, id string) (net.Conn, error) {
	if t.ctx.Err() != nil {
		return nil, ErrClosed
	}
	if !t.reaches(addr) {
		return nil, fmt.Errorf("dial %s for %s: %w", addr, proto, errUnreachable)
	}
	raw, err := reach(ctx, t.cfg.Dial, addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s for %s: %w", addr, proto, err)
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	c := newConn(t, raw)
	c.addr = addr
	c.tls = tls.Client(c.raw, t.clientTLS(proto, id))
	if err := c.shake(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("dial %s for %s: %w", addr, proto, err)
	}
	if !t.track(c) {
		_ = c.Close()
		return nil, ErrClosed
	}
	return c, nil
}

// DialJoin connects to a node of a cluster of which only the pin of its CA is known (see
// Pin), to ask for a certificate.
func DialJoin(ctx context.Context, addr string, pin []byte) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*handshakeTimeout)
	defer cancel()
	raw, err := reach(ctx, nil, addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s to join: %w", addr, err)
	}
	c := tls.Client(raw, pinTLS(pin))
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("dial %s to join: %w", addr, err)
	}
	return c, nil
}

// reach connects to a node's port; a nil dial is a direct one.
func reach(ctx context.Context, dial func(context.Context, string) (net.Conn, error), addr string) (net.Conn, error) {
	if dial == nil {
		dial = egress.Direct(nil).DialPeer
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	c, err := dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(keepAlive) // a connection without finds out later
	}
	return c, nil
}
