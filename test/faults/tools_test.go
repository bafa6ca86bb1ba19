//go:build e2e

package faults

import (
	"bytes"
	"os"
	"testing"

	"github.com/conclave-llm/conclave/node/torture/rig"
)

// missing skips a test for which a tool is not there; where everything is installed, it fails.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not there", what)
	}
	t.Skipf("%s is not there", what)
}

// TestNetworks makes three networks at the same time: each has a subnet of its own.
func TestNetworks(t *testing.T) {
	if err := rig.MayPart(); err != nil {
		missing(t, err.Error())
	}
	seen := map[string]bool{}
	for range 3 {
		w, err := rig.NewNetwork(1)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Close)
		if seen[w.Gateway()] {
			t.Errorf("two networks have the gateway %s", w.Gateway())
		}
		seen[w.Gateway()] = true
	}
}

// content is what a file has before the zeros at its end.
func content(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimRight(b, "\x00")
}
