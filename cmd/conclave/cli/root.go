// Package cli is the command line over the admin API: a verb for each thing that a node can be
// asked to do, most of them made of the table of nouns.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/cmd/conclave/cli/books"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/cluster"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
	"github.com/conclave-llm/conclave/config"
)

// Config is what the command line works with.
type Config struct {
	Version        string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Commands       []*cobra.Command // beside those of this package
	// OpenSecrets opens the values of a configuration file that are sealed for its node; nil: none is.
	OpenSecrets func(ctx context.Context, file string, r *config.Resources) error
}

// Run runs one command until it ends or an interrupt ends it, and returns its exit status: 0,
// 1 for a failure, 2 for a command line that makes no sense, or what a console.ExitError says.
func Run(args []string, cfg Config) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{
		Console:     &console.Console{Version: cfg.Version, Stdin: cfg.Stdin, Stdout: cfg.Stdout, Stderr: cfg.Stderr},
		openSecrets: cfg.OpenSecrets,
	}
	root := newRoot(a)
	root.AddCommand(cfg.Commands...)
	root.SetArgs(args)
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	return a.Report(root.ExecuteContext(ctx))
}

// app is what the commands of this package share.
type app struct {
	*console.Console
	openSecrets func(ctx context.Context, file string, r *config.Resources) error
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "conclave",
		Short:         "An LLM gateway made of identical nodes",
		Version:       a.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRun: func(*cobra.Command, []string) {
			a.Started = true
		},
	}
	a.Flags(root.PersistentFlags())
	for _, n := range nouns {
		root.AddCommand(a.nounCommand(n))
	}
	root.AddCommand(
		a.blobCommand(),
		a.providerCommand(),
		a.mcpCommand(),
		a.nounCommand(passThroughEndpoint),
		a.planCommand(),
		a.applyCommand(),
		a.exportCommand(),
		a.ownCommand(),
		a.versionCommand(),
	)
	root.AddCommand(cluster.Commands(a.Console)...)
	root.AddCommand(books.Commands(a.Console)...)
	return root
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.Stdout, "conclave", a.Version)
			return err
		},
	}
}
