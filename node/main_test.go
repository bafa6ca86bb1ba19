package node_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin"
)

// TestMain lets the test binary be the binary that nodes run again to serve the shipped
// plugins.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "plugin" && os.Args[2] == "serve" {
		if err := builtin.Serve(os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}
