package transport_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"github.com/conclave-llm/conclave/node/transport"
)

// cluster is a CA and the means to open ports of its nodes.
type cluster struct {
	ca      *transport.CA
	id      string
	removed atomic.Pointer[string] // node that is not a member any more
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	id, err := transport.NewClusterID()
	if err != nil {
		t.Fatal(err)
	}
	ca, err := transport.NewCA(id)
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{ca: ca, id: id}
}

func (c *cluster) allowed(id string) bool {
	r := c.removed.Load()
	return r == nil || *r != id
}

func (c *cluster) open(t testing.TB, node string, edit ...func(*transport.Config)) *transport.Transport {
	t.Helper()
	id, err := c.ca.Issue(node, transport.Sealed{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := transport.Config{
		Listen: "127.0.0.1:0", Identity: id.Certificate, Roots: id.Roots, ClusterID: id.Cluster, Allowed: c.allowed,
	}
	for _, e := range edit {
		e(&cfg)
	}
	tr, err := transport.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return tr
}

// pair connects a to b.
func pair(a, b *transport.Transport, proto string) (c1, c2 net.Conn, err error) {
	l := b.Listener(proto)
	c1, err = a.Dial(context.Background(), b.Addr(), proto)
	if err != nil {
		return nil, nil, err
	}
	c2, err = l.Accept()
	return c1, c2, err
}

func TestConn(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.open(t, "a"), c.open(t, "b")
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		c1, c2, err = pair(a, b, transport.Raft)
		if err != nil {
			return nil, nil, nil, err
		}
		return c1, c2, func() { _ = c1.Close(); _ = c2.Close() }, nil
	})
}

func TestPeerID(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.open(t, "node-a"), c.open(t, "node-b")
	c1, c2, err := pair(a, b, transport.Quota)
	if err != nil {
		t.Fatal(err)
	}
	if got := a.PeerID(c1); got != "node-b" {
		t.Errorf("the dialer sees %q, want node-b", got)
	}
	if got := b.PeerID(c2); got != "node-a" {
		t.Errorf("the listener sees %q, want node-a", got)
	}
	if _, err := a.DialNode(t.Context(), b.Addr(), transport.Quota, "node-c"); !errors.Is(err, transport.ErrOtherNode) {
		t.Errorf("dialing node-c at node-b's address: got %v, want ErrOtherNode", err)
	}
}

// refusedBy says whether the other side hung up on c.
func refusedBy(c net.Conn) bool {
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	_, err := c.Read(make([]byte, 1))
	var ne net.Error
	return err != nil && (!errors.As(err, &ne) || !ne.Timeout())
}

func TestRefused(t *testing.T) {
	t.Parallel()
	ours, theirs := newCluster(t), newCluster(t)
	server := ours.open(t, "server")
	for _, p := range []string{transport.Raft, transport.Join} {
		server.Listener(p)
	}
	removed := "removed"
	ours.removed.Store(&removed)
	sameCA, err := ours.ca.Issue("x", transport.Sealed{})
	if err != nil {
		t.Fatal(err)
	}
	trusting := func(c *transport.Config) {
		c.Roots, c.ClusterID = sameCA.Roots, sameCA.Cluster
		c.Allowed = func(string) bool { return true }
	}
	for _, tt := range []struct {
		name string
		node *transport.Transport
		want error // of Dial; nil: the server hangs up
	}{
		{"a node of another cluster", theirs.open(t, "a"), transport.ErrStranger},
		{"a stranger that trusts everybody", theirs.open(t, "b", trusting), nil},
		{"a removed node", ours.open(t, removed, trusting), nil},
		{"a node that wants another cluster", ours.open(t, "c", func(c *transport.Config) { c.ClusterID = func() string { return "other" } }), transport.ErrOtherCluster},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := tt.node.Dial(t.Context(), server.Addr(), transport.Raft)
			if tt.want != nil {
				if !errors.Is(err, tt.want) {
					t.Fatalf("got %v, want %v", err, tt.want)
				}
				return
			}
			if err == nil && !refusedBy(c) {
				t.Error("the connection was accepted")
			}
		})
	}
	t.Run("a client without a certificate", func(t *testing.T) {
		for proto, accepted := range map[string]bool{transport.Raft: false, transport.Join: true} {
			d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{proto}}}
			c, err := d.DialContext(t.Context(), "tcp", server.Addr())
			if err != nil {
				t.Fatal(err)
			}
			if !accepted && !refusedBy(c) {
				t.Errorf("%s: the connection was accepted", proto)
			}
			if accepted {
				sc, err := server.Listener(proto).Accept()
				if err != nil || server.PeerID(sc) != "" {
					t.Errorf("%s: got peer %q, %v, want a stranger", proto, server.PeerID(sc), err)
				}
			}
			_ = c.Close()
		}
	})
	t.Run("a client that names no protocol", func(t *testing.T) {
		d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
		c, err := d.DialContext(t.Context(), "tcp", server.Addr())
		if err == nil && !refusedBy(c) {
			t.Error("the connection was accepted")
		}
	})
	t.Run("TLS 1.2", func(t *testing.T) {
		d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{transport.Join}, MaxVersion: tls.VersionTLS12}}
		if _, err := d.DialContext(t.Context(), "tcp", server.Addr()); err == nil {
			t.Error("the connection was accepted")
		}
	})
}

func TestOtherClusterID(t *testing.T) {
	t.Parallel()
	// Both clusters trust the same CA; only the id in the certificate differs.
	c := newCluster(t)
	server := c.open(t, "server", func(c *transport.Config) { c.ClusterID = func() string { return "other" } })
	server.Listener(transport.Raft)
	conn, err := c.open(t, "a").Dial(t.Context(), server.Addr(), transport.Raft)
	if err == nil && !refusedBy(conn) {
		t.Error("a certificate for another cluster id was accepted")
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.open(t, "a"), c.open(t, "b")
	c1, _, err := pair(a, b, transport.Calls)
	if err != nil {
		t.Fatal(err)
	}
	gone := "a"
	c.removed.Store(&gone)
	b.Sweep()
	if !refusedBy(c1) {
		t.Error("the connection of a removed node is still open")
	}
}

func TestIdleConnectionsBlockNobody(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.open(t, "a"), c.open(t, "b")
	for range 20 { // connect and say nothing
		idle, err := net.Dial("tcp", b.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = idle.Close() })
	}
	b.Listener(transport.Snap) // nobody accepts here
	if _, err := a.Dial(t.Context(), b.Addr(), transport.Snap); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	c1, c2, err := pair(a, b, transport.Raft)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = c1.Write([]byte("hello")) }()
	buf := make([]byte, 5)
	if _, err := io.ReadFull(c2, buf); err != nil || string(buf) != "hello" {
		t.Errorf("got %q, %v", buf, err)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestDialJoin(t *testing.T) {
	t.Parallel()
	c, other := newCluster(t), newCluster(t)
	s := c.open(t, "server")
	l := s.Listener(transport.Join)
	conn, err := transport.DialJoin(t.Context(), s.Addr(), transport.Pin(c.ca.Certificate()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	for name, pin := range map[string][]byte{"another CA": transport.Pin(other.ca.Certificate()), "no pin": nil, "a short pin": {1}} {
		if _, err := transport.DialJoin(t.Context(), s.Addr(), pin); !errors.Is(err, transport.ErrPin) {
			t.Errorf("%s: got %v, want ErrPin", name, err)
		}
	}
}

func TestPacketConn(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.open(t, "a"), c.open(t, "b")
	addr, err := net.ResolveUDPAddr("udp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.PacketConn().WriteTo([]byte("ping"), addr); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	n, from, err := b.PacketConn().ReadFrom(buf)
	if err != nil || !bytes.Equal(buf[:n], []byte("ping")) || from.String() != a.Addr() {
		t.Errorf("got %q from %v, %v, want ping from %s", buf[:n], from, err, a.Addr())
	}
}

func TestMaxConnections(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.open(t, "a"), c.open(t, "b", func(c *transport.Config) { c.MaxConnections = 1 })
	c1, c2, err := pair(a, b, transport.Raft)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := a.Dial(ctx, b.Addr(), transport.Raft); err == nil {
		t.Error("a second connection was made")
	}
	_, _ = c1.Close(), c2.Close()
	if _, _, err := pair(a, b, transport.Raft); err != nil {
		t.Errorf("after the first was closed: %v", err)
	}
}
