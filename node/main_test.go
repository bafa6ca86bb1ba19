package node_test

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// TestMain lets the test binary be the binary that nodes run again to serve the shipped
// plugins, a plugin that is not shipped, and an MCP server that they start.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "general-hook" {
		sdk.ServeGuardrail(generalHook{})
		return
	}
	if len(os.Args) == 4 && os.Args[1] == "plugin" && os.Args[2] == "serve" {
		switch os.Args[3] {
		case "demoauth":
			sdk.ServeAuth(demoAuth{})
			return
		case "demokeys":
			sdk.ServeAuth(demoKeys{})
			return
		case "demofilter":
			sdk.ServeRouterFilter(demoFilter{})
			return
		case "demohouse":
			sdk.ServeProvider(&demoHouse{})
			return
		}
		if err := builtin.Serve(os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if os.Getenv(stdioVariable) != "" {
		serveStdio()
		return
	}
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		_ = f.Value.Set("8") // clusters mostly wait: for elections, for the ends of windows
	}
	os.Exit(m.Run())
}
