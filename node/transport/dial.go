package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"
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
	d := net.Dialer{Timeout: handshakeTimeout, KeepAliveConfig: keepAlive}
	raw, err := d.DialContext(ctx, "tcp", addr)
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
	d := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: handshakeTimeout, KeepAliveConfig: keepAlive},
		Config:    pinTLS(pin),
	}
	ctx, cancel := context.WithTimeout(ctx, 2*handshakeTimeout)
	defer cancel()
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s to join: %w", addr, err)
	}
	return c, nil
}
