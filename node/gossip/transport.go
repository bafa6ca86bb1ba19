package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Protocol is the name under which streams go through the cluster port.
const Protocol = "gossip/1"

// acceptPause is how long the accept loop rests after an error that may pass.
const acceptPause = 100 * time.Millisecond

// Transport is the cluster port, as gossip needs it. The gossip closes the listener that it
// gets, but never the packet socket.
type Transport interface {
	// Listener accepts streams of the protocol.
	Listener(proto string) net.Listener
	// Dial opens a stream of the protocol to a node of the cluster.
	Dial(ctx context.Context, addr, proto string) (net.Conn, error)
	// PacketConn is the UDP socket on the cluster port. Only the gossip reads from it.
	PacketConn() net.PacketConn
}

// netTransport is the cluster port, as memberlist needs it.
type netTransport struct {
	ctx    context.Context // ends with the Gossip; dials and loops end with it
	cancel context.CancelFunc
	inner  Transport
	listen net.Listener
	ip     net.IP
	port   int
	logger *slog.Logger

	packets chan *memberlist.Packet
	streams chan net.Conn
	loops   sync.WaitGroup
}

var _ memberlist.NodeAwareTransport = (*netTransport)(nil)

func newNetTransport(ctx context.Context, inner Transport, ip net.IP, port int, logger *slog.Logger) *netTransport {
	t := &netTransport{
		inner: inner, ip: ip, port: port, logger: logger,
		listen:  inner.Listener(Protocol),
		packets: make(chan *memberlist.Packet),
		streams: make(chan net.Conn),
	}
	t.ctx, t.cancel = context.WithCancel(ctx)
	_ = inner.PacketConn().SetReadDeadline(time.Time{}) // an earlier Gossip left it in the past
	t.loops.Go(t.readPackets)
	t.loops.Go(t.acceptStreams)
	return t
}

// FinalAdvertiseAddr implements memberlist.Transport.
func (t *netTransport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.ip, t.port, nil
}

// WriteTo implements memberlist.Transport.
func (t *netTransport) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("resolve %q: %w", addr, err)
	}
	if _, err := t.inner.PacketConn().WriteTo(b, to); err != nil {
		return time.Time{}, fmt.Errorf("send packet: %w", err)
	}
	return time.Now(), nil
}

// WriteToAddress implements memberlist.NodeAwareTransport.
func (t *netTransport) WriteToAddress(b []byte, addr memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, addr.Addr)
}

// PacketCh implements memberlist.Transport.
func (t *netTransport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// DialTimeout implements memberlist.Transport.
func (t *netTransport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.ctx, timeout)
	defer cancel()
	conn, err := t.inner.Dial(ctx, addr, Protocol)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return conn, nil
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (t *netTransport) DialAddressTimeout(addr memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(addr.Addr, timeout)
}

// StreamCh implements memberlist.Transport.
func (t *netTransport) StreamCh() <-chan net.Conn { return t.streams }

// Shutdown implements memberlist.Transport. It waits for the loops, and leaves the socket
// open, as it belongs to the cluster port.
func (t *netTransport) Shutdown() error {
	t.cancel()
	err := t.listen.Close()
	_ = t.inner.PacketConn().SetReadDeadline(time.Unix(1, 0)) // ends a read under way
	t.loops.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (t *netTransport) readPackets() {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := t.inner.PacketConn().ReadFrom(buf)
		if t.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			t.logger.Debug("gossip read packet", "err", err)
			t.pause()
			continue
		}
		if n == 0 {
			continue
		}
		p := &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: from, Timestamp: time.Now()}
		select {
		case t.packets <- p:
		case <-t.ctx.Done():
			return
		}
	}
}

func (t *netTransport) acceptStreams() {
	for {
		conn, err := t.listen.Accept()
		if t.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			if err == nil {
				_ = conn.Close()
			}
			return
		}
		if err != nil {
			t.logger.Debug("gossip accept", "err", err)
			t.pause()
			continue
		}
		select {
		case t.streams <- conn:
		case <-t.ctx.Done():
			_ = conn.Close()
			return
		}
	}
}

func (t *netTransport) pause() {
	select {
	case <-time.After(acceptPause):
	case <-t.ctx.Done():
	}
}
