package gossip_test

import (
	"testing"

	"github.com/conclave-llm/conclave/node/gossip"
	"github.com/conclave-llm/conclave/node/transport"
)

// TestGossip_OverTheClusterPort joins through streams with node certificates, and exchanges
// packets on the same port.
func TestGossip_OverTheClusterPort(t *testing.T) {
	t.Parallel()
	ca, err := transport.NewCA("cluster_x")
	if err != nil {
		t.Fatal(err)
	}
	port := func(node string) *transport.Transport {
		t.Helper()
		id, err := ca.Issue(node, transport.Sealed{})
		if err != nil {
			t.Fatal(err)
		}
		tr, err := transport.New(transport.Config{
			Listen: "127.0.0.1:0", Identity: id.Certificate, Roots: id.Roots, ClusterID: id.Cluster,
			Allowed: func(id string) bool { return id != "removed" },
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := tr.Close(); err != nil {
				t.Error(err)
			}
		})
		return tr
	}
	start := func(node string, join []gossip.Peer) (*gossip.Gossip, *board, gossip.Peer) {
		t.Helper()
		tr, b := port(node), newBoard("from "+node)
		g, err := gossip.New(gossip.Config{
			NodeID: node, ClusterID: "cluster_x", Advertise: tr.Addr(), Key: testKey, Transport: tr,
			Sharers: []gossip.Sharer{b}, Members: func() []gossip.Peer { return join },
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := g.Shutdown(); err != nil {
				t.Error(err)
			}
		})
		return g, b, gossip.Peer{ID: node, Addr: tr.Addr()}
	}
	_, a, peer := start("a", nil)
	_, b, _ := start("b", []gossip.Peer{peer})
	a.wait(t, "a hears b", func() bool { return a.heard["b"] == "from b" })
	b.wait(t, "b hears a", func() bool { return b.heard["a"] == "from a" })
	removed, _, _ := start("removed", nil)
	if n := removed.Join([]gossip.Peer{peer}); n != 0 {
		t.Errorf("Join of a removed node = %d, want 0", n)
	}
}
