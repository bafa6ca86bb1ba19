//go:build e2e

package faults

import (
	"os"
	"testing"
)

// missing skips a test for which a tool is not there; where everything is installed, it fails.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not there", what)
	}
	t.Skipf("%s is not there", what)
}
