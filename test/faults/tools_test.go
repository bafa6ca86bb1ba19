//go:build e2e

package faults

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/torture/rig"
)

// full says whether tests run in their long forms: CONCLAVE_FULL.
func full() bool { return os.Getenv("CONCLAVE_FULL") != "" }

// lasting is how long something lasts: brief, or in its long form long.
func lasting(brief, long time.Duration) time.Duration {
	if full() {
		return long
	}
	return brief
}

// length is how long a fault lasts: d, or in its long form ten times that.
func length(d time.Duration) time.Duration { return lasting(d, 10*d) }

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
