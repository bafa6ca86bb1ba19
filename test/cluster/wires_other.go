//go:build !linux

package cluster

import "testing"

// wires are there on Linux only, as network namespaces are.
type wires struct{}

func wireHost(int) string { return "" }

// Wire makes one direction between two nodes what it is to be from now on: on Linux.
func (c *Cluster) Wire(int, int, Wire) { c.t.Fatal("wires need Linux") }

func (c *Cluster) wire(t testing.TB, _ int) { t.Fatal("wires need Linux") }
