package transport

import (
	"errors"
	"net"
)

// errUnreachable is what Config.Reach makes of an address.
var errUnreachable = errors.New("the address cannot be reached")

// reaches asks Config.Reach; an accepted connection has no address to ask for.
func (t *Transport) reaches(addr string) bool {
	return t.cfg.Reach == nil || addr == "" || t.cfg.Reach(addr)
}

// partedConn is the UDP socket of a node in a test: packets to where Reach does not lead are
// lost.
type partedConn struct {
	net.PacketConn
	t *Transport
}

// WriteTo implements net.PacketConn.
func (p partedConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if !p.t.reaches(to.String()) {
		return len(b), nil
	}
	return p.PacketConn.WriteTo(b, to)
}
