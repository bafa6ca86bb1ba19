package consensus

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/node/transport"
)

// stream gives raft the connections of the cluster port.
type stream struct {
	net.Listener
	t *transport.Transport
}

// newStream takes the raft protocol of the port.
func newStream(t *transport.Transport) *stream {
	return &stream{Listener: t.Listener(transport.Raft), t: t}
}

// Dial implements raft.StreamLayer for addresses made by nodeAddress, and bare ones.
func (s *stream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	id, addr := splitAddress(address)
	return s.t.DialNode(ctx, addr, transport.Raft, id)
}

// Addr implements net.Listener with the address that the others use.
func (s *stream) Addr() net.Addr { return advertised(s.t.Addr()) }

// advertised is an address as text.
type advertised string

// Network implements net.Addr.
func (advertised) Network() string { return "tcp" }

// String implements net.Addr.
func (a advertised) String() string { return string(a) }

// nodeAddress puts the id before the address, so that Dial refuses another node that took
// the address over. Raft keeps its connections under it.
func nodeAddress(id, addr string) raft.ServerAddress { return raft.ServerAddress(id + "@" + addr) }

// splitAddress reverses nodeAddress; the id of a bare address is "".
func splitAddress(a raft.ServerAddress) (id, addr string) {
	id, addr, ok := strings.Cut(string(a), "@")
	if !ok {
		return "", string(a)
	}
	return id, addr
}

// addresses implements raft.ServerAddressProvider: the table of members knows addresses
// that are newer than the configuration's.
type addresses struct {
	resolve func(id string) (string, bool)
}

// ServerAddr implements raft.ServerAddressProvider.
func (a addresses) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	addr, ok := a.resolve(string(id))
	if !ok {
		return "", fmt.Errorf("no address of node %s", id)
	}
	return nodeAddress(string(id), addr), nil
}
