package gossip_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/conclave-llm/conclave/node/gossip"
)

// loopback is a cluster port without encryption: TCP and UDP on one port.
type loopback struct {
	tcp net.Listener
	udp net.PacketConn
}

func newLoopback(t *testing.T, addr string) *loopback {
	t.Helper()
	for range 20 {
		tcp, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err != nil { // somebody has the port
			_ = tcp.Close()
			continue
		}
		l := &loopback{tcp, udp}
		t.Cleanup(func() { _ = tcp.Close(); _ = udp.Close() })
		return l
	}
	t.Fatal("no port is free for both TCP and UDP")
	return nil
}

func (l *loopback) Listener(string) net.Listener { return l.tcp }

func (l *loopback) Dial(ctx context.Context, addr, _ string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

func (l *loopback) PacketConn() net.PacketConn { return l.udp }

func (l *loopback) addr() string { return l.tcp.Addr().String() }

// board is a Sharer that remembers what it hears, and tells waiters.
type board struct {
	mu      sync.Mutex
	say     []byte
	heard   map[string]string
	gone    []string
	changed chan struct{} // closed and replaced at each change
}

func newBoard(say string) *board {
	return &board{say: []byte(say), heard: map[string]string{}, changed: make(chan struct{})}
}

func (b *board) Topic() byte { return 7 }

func (b *board) Share() []byte {
	var say []byte
	b.update(func() { say = b.say }) // wakes those who wait for what a Share leads to
	return say
}

func (b *board) Merge(node string, payload []byte) {
	b.update(func() { b.heard[node] = string(payload) })
}

func (b *board) Forget(node string) {
	b.update(func() {
		delete(b.heard, node)
		b.gone = append(b.gone, node)
	})
}

func (b *board) update(do func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	do()
	close(b.changed)
	b.changed = make(chan struct{})
}

// wait waits until the condition holds; it is called with the lock held.
func (b *board) wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		b.mu.Lock()
		done, changed := ok(), b.changed
		state := fmt.Sprint(b.heard, b.gone)
		b.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s: not within 20 s; heard and gone: %s", what, state)
		}
	}
}

type member struct {
	*gossip.Gossip
	*board
	net *loopback
	cfg gossip.Config
}

var testKey = bytes.Repeat([]byte{1}, 32)

func start(t *testing.T, id string, edit func(*gossip.Config)) *member {
	t.Helper()
	m := &member{board: newBoard("from " + id), net: newLoopback(t, "127.0.0.1:0")}
	m.cfg = gossip.Config{
		NodeID: id, Name: strings.ToUpper(id), ClusterID: "cluster_x", Advertise: m.net.addr(), Key: testKey,
		Transport: m.net, Sharers: []gossip.Sharer{m.board}, Interval: 20 * time.Millisecond,
	}
	if edit != nil {
		edit(&m.cfg)
	}
	g, err := gossip.New(m.cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.Gossip = g
	t.Cleanup(func() {
		if err := g.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func (m *member) peer() gossip.Peer { return gossip.Peer{ID: m.cfg.NodeID, Addr: m.net.addr()} }

func TestGossip_ThreeNodes(t *testing.T) {
	t.Parallel()
	a := start(t, "a", nil)
	members := func() []gossip.Peer { return []gossip.Peer{a.peer()} }
	b := start(t, "b", func(c *gossip.Config) { c.Members = members })
	c := start(t, "c", func(c *gossip.Config) { c.Members = members })
	for _, m := range []*member{a, b, c} {
		m.wait(t, m.cfg.NodeID+" hears the others", func() bool {
			for _, other := range []string{"a", "b", "c"} {
				if other != m.cfg.NodeID && m.heard[other] != "from "+other {
					return false
				}
			}
			return true
		})
	}
	if got, want := a.Alive(), []string{"a", "b", "c"}; !slices.Equal(got, want) {
		t.Errorf("Alive = %v, want %v", got, want)
	}
	if got := a.Names()["c"]; got != "C" {
		t.Errorf("name of c = %q, want C", got)
	}
	b.update(func() { b.say = []byte("news") })
	c.wait(t, "c hears news", func() bool { return c.heard["b"] == "news" })

	if err := c.Leave(5 * time.Second); err != nil {
		t.Error(err)
	}
	if err := c.Shutdown(); err != nil {
		t.Error(err)
	}
	a.wait(t, "a forgets c", func() bool { return slices.Contains(a.gone, "c") })
	if got, want := a.Alive(), []string{"a", "b"}; !slices.Equal(got, want) {
		t.Errorf("Alive after c left = %v, want %v", got, want)
	}
	again := start(t, "c", func(c *gossip.Config) {
		c.Epoch = 1 // even with a clock far behind
		c.Members = members
	})
	again.update(func() { again.say = []byte("back") })
	a.wait(t, "a hears c again", func() bool { return a.heard["c"] == "back" })
}

func TestGossip_WrongKeyOrClusterIsRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		edit func(*gossip.Config)
	}{
		{"key", func(c *gossip.Config) { c.Key = bytes.Repeat([]byte{2}, 32) }},
		{"cluster", func(c *gossip.Config) { c.ClusterID = "cluster_y" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := start(t, "a", nil)
			b := start(t, "b", tt.edit)
			if n := b.Join([]gossip.Peer{a.peer()}); n != 0 {
				t.Errorf("Join = %d, want 0", n)
			}
			if got := a.Alive(); !slices.Equal(got, []string{"a"}) {
				t.Errorf("Alive = %v, want a alone", got)
			}
			c := start(t, "c", nil)
			if n := c.Join([]gossip.Peer{a.peer()}); n != 1 {
				t.Errorf("Join with the right key = %d, want 1", n)
			}
		})
	}
}

func TestGossip_RemovedNodeIsIgnored(t *testing.T) {
	t.Parallel()
	a := start(t, "a", func(c *gossip.Config) { c.Allowed = func(id string) bool { return id != "removed" } })
	members := func() []gossip.Peer { return []gossip.Peer{a.peer()} }
	removed := start(t, "removed", nil)
	removed.Join([]gossip.Peer{a.peer()})
	b := start(t, "b", func(c *gossip.Config) { c.Members = members })
	b.wait(t, "b hears a", func() bool { return b.heard["a"] != "" })
	a.wait(t, "a hears b", func() bool { return a.heard["b"] != "" })
	if n := b.Join([]gossip.Peer{a.peer()}); n != 1 {
		t.Errorf("Join = %d, want 1", n)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.heard["removed"] != "" || slices.Contains(a.Alive(), "removed") {
		t.Errorf("a hears the removed node: %v, %v", a.heard, a.Alive())
	}
}

func TestGossip_OversizeIsRefused(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var log bytes.Buffer
	reg := prometheus.NewRegistry()
	a := start(t, "a", func(c *gossip.Config) {
		c.Registerer = reg
		c.Logger = slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return log.Write(b)
		}), nil))
	})
	b := start(t, "b", func(c *gossip.Config) { c.Members = func() []gossip.Peer { return []gossip.Peer{a.peer()} } })
	b.wait(t, "b hears a", func() bool { return b.heard["a"] != "" })
	a.update(func() { a.say = make([]byte, gossip.MaxPayload+1) })
	a.wait(t, "the log says so", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Contains(log.String(), "too large")
	})
	a.update(func() { a.say = bytes.Repeat([]byte("x"), gossip.MaxPayload) })
	b.wait(t, "b hears the largest that is allowed", func() bool { return len(b.heard["a"]) == gossip.MaxPayload })
	if n, err := testutil.GatherAndCount(reg, "conclave_gossip_payloads_refused_total"); n != 1 || err != nil {
		t.Errorf("metric of refused payloads: %d, %v", n, err)
	}
}

type writerFunc func([]byte) (int, error)

func (w writerFunc) Write(b []byte) (int, error) { return w(b) }

func TestNew_RefusesBadConfig(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		edit func(*gossip.Config)
		want string
	}{
		{"key", func(c *gossip.Config) { c.Key = []byte("short") }, "gossip key of 5 bytes"},
		{"node id", func(c *gossip.Config) { c.NodeID = strings.Repeat("x", 65) }, "node id of 65 bytes"},
		{"cluster id", func(c *gossip.Config) { c.ClusterID = "" }, "cluster id"},
		{"address", func(c *gossip.Config) { c.Advertise = "127.0.0.1" }, "not host:port"},
		{"any address", func(c *gossip.Config) { c.Advertise = "0.0.0.0:4001" }, "nobody can reach"},
		{"topics", func(c *gossip.Config) { c.Sharers = append(c.Sharers, newBoard("")) }, "topic 7"},
		{"transport", func(c *gossip.Config) { c.Transport = nil }, "needs a transport"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLoopback(t, "127.0.0.1:0")
			cfg := gossip.Config{NodeID: "a", ClusterID: "x", Advertise: l.addr(), Key: testKey, Transport: l, Sharers: []gossip.Sharer{newBoard("")}}
			tt.edit(&cfg)
			g, err := gossip.New(cfg)
			if err == nil {
				_ = g.Shutdown()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New: %v, want an error with %q", err, tt.want)
			}
		})
	}
}
