package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// network is a bridge with a network namespace for each node.
type network struct {
	t      testing.TB
	bridge string
	subnet string   // "10.199.7"
	lost   [][2]int // from and to of what gets lost
}

// networks counts those of this process, so that each has its own names.
var networks atomic.Int64

// StartApart is Start with each node in a network namespace of its own, so that Cut can
// part them. It needs root and ip.
func StartApart(t testing.TB, n int) *Cluster {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("needs root to make network namespaces")
	}
	id := (os.Getpid() + 1000*int(networks.Add(1))) % 100000
	w := &network{t: t, bridge: fmt.Sprint("cnb", id), subnet: fmt.Sprint("10.199.", id%250)}
	w.ip("link", "add", w.bridge, "type", "bridge")
	t.Cleanup(func() { w.undo("link", "del", w.bridge) })
	w.ip("addr", "add", w.subnet+".1/24", "dev", w.bridge)
	w.ip("link", "set", w.bridge, "up")
	for i := range n {
		ns, port := w.space(i), w.plug(i)
		w.ip("netns", "add", ns)
		t.Cleanup(func() { w.undo("netns", "del", ns) })
		w.ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", ns)
		t.Cleanup(func() { w.undo("link", "del", port) })
		w.ip("link", "set", port, "master", w.bridge, "up")
		w.ip("-n", ns, "addr", "add", w.host(i)+"/24", "dev", "eth0")
		w.ip("-n", ns, "link", "set", "eth0", "up")
		w.ip("-n", ns, "link", "set", "lo", "up")
	}
	return start(t, n, w, "")
}

func (w *network) space(i int) string { return fmt.Sprint(w.bridge, "n", i) }
func (w *network) plug(i int) string  { return fmt.Sprint(w.bridge, "p", i) }
func (w *network) host(i int) string  { return fmt.Sprint(w.subnet, ".", 11+i) }

func (w *network) ip(args ...string) {
	w.t.Helper()
	w.do("ip", args...)
}

func (w *network) do(name string, args ...string) {
	w.t.Helper()
	if out, err := exec.CommandContext(w.t.Context(), name, args...).CombinedOutput(); err != nil {
		w.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func (w *network) undo(args ...string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = exec.CommandContext(ctx, "ip", args...).Run() // it may be gone already
}

// Cut parts every node from every other; clients still reach all.
func (c *Cluster) Cut() { c.isolate("on") }

// Mute loses what node i sends to the other nodes; clients and the upstream still reach it.
func (c *Cluster) Mute(i int) {
	c.t.Helper()
	for j := range c.Nodes {
		c.lose(i, j)
	}
}

// Deafen loses what the other nodes send to node i.
func (c *Cluster) Deafen(i int) {
	c.t.Helper()
	for j := range c.Nodes {
		c.lose(j, i)
	}
}

// nowhere is an address on the wire that nobody has.
const nowhere = "02:00:00:00:00:fe"

// lose sends the packets of a node for another one to nobody, without a word to the sender.
func (c *Cluster) lose(from, to int) {
	c.t.Helper()
	if from == to {
		return
	}
	c.net.ip("-n", c.net.space(from), "neigh", "replace", c.net.host(to), "lladdr", nowhere, "nud", "permanent", "dev", "eth0")
	c.net.lost = append(c.net.lost, [2]int{from, to})
}

// Heal undoes Cut, Mute and Deafen.
func (c *Cluster) Heal() {
	c.t.Helper()
	c.isolate("off")
	for _, l := range c.net.lost {
		c.net.ip("-n", c.net.space(l[0]), "neigh", "del", c.net.host(l[1]), "dev", "eth0")
	}
	c.net.lost = nil
}

func (c *Cluster) isolate(how string) {
	c.t.Helper()
	for i := range c.Nodes {
		c.net.do("bridge", "link", "set", "dev", c.net.plug(i), "isolated", how)
	}
}
