// Command conclave is the gateway and its command line: `serve` runs a node, the verbs of
// package cli call a node's admin API.
package main

import (
	"io"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/cmd/conclave/cli"
)

// version is the program's; the build sets it.
var version = ""

func main() {
	a := &app{stdout: os.Stdout, stderr: os.Stderr}
	os.Exit(cli.Run(os.Args[1:], cli.Config{
		Version: programVersion(), Stdin: os.Stdin, Stdout: a.stdout, Stderr: a.stderr, OpenSecrets: openResources,
		Commands: []*cobra.Command{a.serveCommand(), a.devCommand(), a.mockCommand(), a.recoverCommand(), a.secretCommand(), a.tortureCommand()},
	}))
}

// app is where the commands that run something write to.
type app struct{ stdout, stderr io.Writer }

// programVersion is what the build set, else what Go knows of the module.
func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "devel"
}
