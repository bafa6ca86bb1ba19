// Package cli is the command line over the admin API: a verb for each thing that a node can be
// asked to do, most of them made of the table of nouns.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
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
// 1 for a failure, 2 for a command line that makes no sense, or what an ExitError says.
func Run(args []string, cfg Config) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{version: cfg.Version, stdin: cfg.Stdin, stdout: cfg.Stdout, stderr: cfg.Stderr, openSecrets: cfg.OpenSecrets}
	root := newRoot(a)
	root.AddCommand(cfg.Commands...)
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	return a.report(root.ExecuteContext(ctx))
}

// app is what all commands share.
type app struct {
	version        string
	stdin          io.Reader
	stdout, stderr io.Writer

	server, key, output string // flags
	timeout             time.Duration
	started             bool // a command has begun: what fails now is not the command line
	api                 *client.Client
	openSecrets         func(ctx context.Context, file string, r *config.Resources) error
}

// ExitError makes the program exit with a status of its own.
type ExitError struct {
	Code int
	Err  error // nil: nothing is said
}

// Error is what the error within says.
func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap returns the error within.
func (e *ExitError) Unwrap() error { return e.Err }

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "conclave",
		Short:         "An LLM gateway made of identical nodes",
		Version:       a.version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRun: func(*cobra.Command, []string) {
			a.started = true
		},
	}
	f := root.PersistentFlags()
	f.StringVar(&a.server, "server", "", "admin API of any node (CONCLAVE_SERVER, default http://127.0.0.1:4000)")
	f.StringVar(&a.key, "key", "", "master key or a key with a role (CONCLAVE_ADMIN_KEY or CONCLAVE_MASTER_KEY)")
	f.StringVarP(&a.output, "output", "o", "", "table or json (default: table on a terminal, else json)")
	f.DurationVar(&a.timeout, "timeout", 30*time.Second, "how long one call may take")
	for _, n := range nouns {
		root.AddCommand(a.nounCommand(n))
	}
	root.AddCommand(
		a.clusterCommand(), a.egressCommand(),
		a.usageCommand(),
		a.explainCommand(),
		a.ledgerCommand(),
		a.auditCommand(),
		a.alertCommand(),
		a.blobCommand(),
		a.bundleCommand(), a.snapshotCommand(),
		a.priceCommand(),
		a.providerCommand(),
		a.mcpCommand(),
		a.nounCommand(passThroughEndpoint),
		a.planCommand(),
		a.applyCommand(),
		a.exportCommand(),
		a.ownCommand(),
		a.versionCommand(),
	)
	return root
}

// client makes the client that the flags and the environment describe.
func (a *app) client() *client.Client {
	if a.api == nil {
		a.api = client.New(client.Config{
			Server: cmp.Or(a.server, os.Getenv("CONCLAVE_SERVER")),
			Key:    cmp.Or(a.key, os.Getenv("CONCLAVE_ADMIN_KEY"), os.Getenv("CONCLAVE_MASTER_KEY")),
			HTTP:   &http.Client{Timeout: a.timeout},
		})
	}
	return a.api
}

// report writes an error for people and gives the exit status.
func (a *app) report(err error) int {
	if err == nil {
		return 0
	}
	if errors.Is(err, context.Canceled) {
		return 130
	}
	if p, ok := errors.AsType[*client.Problem](err); ok {
		fmt.Fprintf(a.stderr, "conclave: %s", p.Title)
		if p.Code != "" {
			fmt.Fprintf(a.stderr, " (%s)", p.Code)
		}
		if p.Detail != "" {
			fmt.Fprintf(a.stderr, ": %s", p.Detail)
		}
		fmt.Fprintln(a.stderr)
		for _, f := range p.Fields {
			if !strings.Contains(p.Detail, f.Reason) {
				fmt.Fprintf(a.stderr, "  %s: %s\n", f.Name, f.Reason)
			}
		}
		if p.Hint != "" {
			fmt.Fprintf(a.stderr, "  hint: %s\n", p.Hint)
		}
		return 1
	}
	e, ok := errors.AsType[*ExitError](err)
	if ok && e.Err == nil {
		return e.Code // what there is to say is said
	}
	fmt.Fprintf(a.stderr, "conclave: %v\n", err)
	if ok {
		return e.Code
	}
	if !a.started {
		return 2
	}
	return 1
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.stdout, "conclave", a.version)
			return err
		},
	}
}
