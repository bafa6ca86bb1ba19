package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/mock"
)

func (a *app) mockCommand() *cobra.Command {
	var cfg mock.Config
	var listen string
	cmd := &cobra.Command{
		Use:   "mock",
		Short: "Run the demo upstream",
		Long: `Runs an upstream that speaks OpenAI's format and answers by itself, with latency, chunk rate,
errors, stalls and cuts as the flags say. A request can change them with x-mock-* headers.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.mock(cmd.Context(), listen, cfg) },
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:4090", "address")
	flags := flag.NewFlagSet("mock", flag.ContinueOnError)
	cfg.Flags(flags)
	cmd.Flags().AddGoFlagSet(flags)
	return cmd
}

// mock serves the demo upstream until ctx ends.
func (a *app) mock(ctx context.Context, listen string, cfg mock.Config) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "demo upstream: http://%s/v1\n", l.Addr())
	srv := &http.Server{Handler: mock.New(cfg), ReadHeaderTimeout: 10 * time.Second}
	stopped := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stopped()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
