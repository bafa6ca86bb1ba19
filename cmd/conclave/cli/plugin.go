package cli

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/plugins/builtin"
)

// pluginServe runs a shipped plugin. Nodes call it; nobody else needs to.
func pluginServe() *cobra.Command {
	return &cobra.Command{
		Use:    "serve NAME",
		Short:  "Run a shipped plugin for the node that started this process",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			signal.Reset(os.Interrupt, syscall.SIGTERM) // a plugin ends when it is told to
			return builtin.Serve(args[0])
		},
	}
}
