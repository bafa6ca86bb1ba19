package cluster

import (
	"testing"
	"time"
)

// StartApart is Start with each node in a network namespace of its own, so that Cut can
// part them. It needs root and ip.
func StartApart(t testing.TB, n int) *Cluster {
	t.Helper()
	return Config{}.StartApart(t, n)
}

// StartApart is Start with each node in a network namespace of its own.
func (how Config) StartApart(t testing.TB, n int) *Cluster {
	t.Helper()
	how.Apart = true
	return how.Start(t, n)
}

// Space is the network namespace of node i.
func (c *Cluster) Space(i int) string { return c.net.Space(i) }

// Host is the address of node i, the same for all its ports.
func (c *Cluster) Host(i int) string { return c.net.Host(i) }

func (c *Cluster) part(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// Cut parts every node from every other; clients still reach all.
func (c *Cluster) Cut() { c.part(c.net.Cut()) }

// Mute loses what node i sends to the other nodes; clients and the upstream still reach it.
func (c *Cluster) Mute(i int) { c.part(c.net.Mute(i)) }

// Deafen loses what the other nodes send to node i.
func (c *Cluster) Deafen(i int) { c.part(c.net.Deafen(i)) }

// Heal undoes Cut, Mute and Deafen.
func (c *Cluster) Heal() { c.part(c.net.Heal()) }

// Narrow lets no more than a rate, such as "1mbit", reach node i; "" ends that.
func (c *Cluster) Narrow(i int, rate string) { c.t.Helper(); c.part(c.net.Narrow(i, rate)) }

// Wire is what becomes of packets from one node to another; the zero value is a good one.
type Wire struct {
	Cut           bool          // all get lost
	Delay, Jitter time.Duration // between Delay and the sum; they stay in their order
}
