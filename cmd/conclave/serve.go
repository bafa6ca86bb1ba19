package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/declare"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/config/load"
	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/node"
	"github.com/conclave-llm/conclave/secret"
)

// stopTimeout bounds a stop: the drain of requests and what follows it.
const stopTimeout = 2*time.Minute + 15*time.Second

// serveFlags are the flags of `serve`.
type serveFlags struct {
	file, join, token string
	bootstrap         bool
}

func (a *app) serveCommand() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run one node",
		Long: `Runs one node until it is asked to stop. The first node of a cluster starts with --bootstrap,
each further one with --join and a token from "conclave cluster join-token"; every later start
of any node takes the file alone.`,
		Example: `  conclave serve --config a.hcl --bootstrap
  conclave serve --config b.hcl --join 10.0.0.1:4001 --token conclave1.…
  conclave serve --config b.hcl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.serve(cmd.Context(), f) },
	}
	cmd.Flags().StringVar(&f.file, "config", "", "configuration file (HCL)")
	cmd.Flags().BoolVar(&f.bootstrap, "bootstrap", false, "found a cluster; the resources in the file are applied once")
	cmd.Flags().StringVar(&f.join, "join", "", "cluster address of a member to join through, HOST:4001")
	cmd.Flags().StringVar(&f.token, "token", "", "join token")
	_ = cmd.MarkFlagRequired("config") // the flag is there
	return cmd
}

// serve runs a node until ctx ends.
func (a *app) serve(ctx context.Context, f serveFlags) error {
	cfg, logger, err := a.nodeConfig(ctx, f)
	if err != nil {
		return &console.ExitError{Code: 78, Err: err}
	}
	cfg.Bootstrap, cfg.Join, cfg.Token = f.bootstrap, f.join, f.token
	p, err := chooseProgram(ctx, &cfg, f, logger)
	if err != nil {
		return err
	}
	cfg.Program = p.Program
	go tuneGC(ctx)
	n, err := node.Start(ctx, cfg)
	if r, ok := errors.AsType[*node.Refusal](err); ok {
		return &console.ExitError{Code: r.Status, Err: err}
	}
	if err != nil {
		return err
	}
	logger.Info("serving", "clients", n.Addr(), "node_id", n.ID())
	limit := max(cfg.DrainTimeout+15*time.Second, stopTimeout)
	select {
	case <-ctx.Done():
		logger.Info("stopping")
		return stopNodes(limit, n)
	case <-n.Failed():
		logger.Error("stopping, to be started again", "error", ledger.ErrFailed)
		return &console.ExitError{Code: 75, Err: errors.Join(ledger.ErrFailed, stopNodes(limit, n))}
	case s := <-n.Swaps():
		logger.Info("stopping, to start another program")
		if err := stopNodes(limit, n); err != nil {
			logger.Warn("the node did not stop well", "error", err)
		}
		return p.swap(s)
	}
}

// nodeConfig reads the configuration file.
func (a *app) nodeConfig(ctx context.Context, f serveFlags) (node.Config, *slog.Logger, error) {
	o, err := newOpener(ctx, f.file)
	if err != nil {
		return node.Config{}, nil, err
	}
	if f.bootstrap {
		file, err := load.File(f.file, o.lookup)
		if err != nil {
			return node.Config{}, nil, err
		}
		if file.Node == nil {
			return node.Config{}, nil, errors.New(f.file + " has no node block")
		}
		if err := o.file(ctx, file.Node, &file.Resources); err != nil {
			return node.Config{}, nil, err
		}
		cfg, logger := a.nodeOf(ctx, file.Node, o)
		declared := declare.FromConfig(&file.Resources)
		cfg.Resources, cfg.Blobs = &declared, file.BlobBodies()
		return cfg, logger, nil
	}
	n, records, err := load.Node(f.file, o.lookup)
	if err != nil {
		return node.Config{}, nil, err
	}
	if err := o.file(ctx, n, nil); err != nil {
		return node.Config{}, nil, err
	}
	cfg, logger := a.nodeOf(ctx, n, o)
	if records && f.join != "" {
		logger.Warn("the resources in the file are ignored by a node that joins", "file", f.file)
	}
	return cfg, logger, nil
}

// nodeOf is the file's node block as the node takes it.
func (a *app) nodeOf(ctx context.Context, n *config.Node, o *opener) (node.Config, *slog.Logger) {
	logger := slog.New(newLogHandler(ctx, a.stderr, func(w io.Writer) slog.Handler {
		options := &slog.HandlerOptions{Level: n.LogLevel}
		if n.LogFormat == "json" {
			return slog.NewJSONHandler(w, options)
		}
		return slog.NewTextHandler(w, options)
	}))
	return node.Config{
		KeyServices: o.way, Proxy: proxyOf(n), ProxyFromEnvironment: n.ProxyFromEnvironment, Sealed: n.Sealed,
		Name: n.Name, DataDir: n.DataDir, Listen: n.Listen, Cluster: n.Cluster, Advertise: n.Advertise,
		ClientURL: n.ClientURL, MasterKey: secret.New(string(n.MasterKey)), KEK: o.kek, KEKNext: o.kekNext, KEKCover: o.cover, Environ: o.lookup, SealedUnder: o.under,
		MaxConnections: n.MaxConnections, MaxClusterConnections: n.MaxClusterConnections,
		ServeStale: n.ServeStale, Journal: ledger.Mode(n.Journal), JournalDir: n.JournalDir, JournalKeep: n.JournalKeep,
		JournalMaxMB: n.JournalMaxMB, PluginDir: n.PluginDir,
		UpgradePublishers: n.UpgradePublishers,
		Role:              n.Role, Seeds: n.Seeds, DrainTimeout: n.DrainTimeout, DiskReserveMB: n.DiskReserveMB,
		Multiplier: n.RaftMultiplier, TLSCert: n.TLSCert, TLSKey: n.TLSKey,
		Version: programVersion(), Logger: logger,
	}, logger
}

// stopNodes stops nodes, all at once.
func stopNodes(limit time.Duration, nodes ...*node.Node) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	errs := make(chan error, len(nodes))
	for _, n := range nodes {
		go func() { errs <- n.Stop(ctx) }()
	}
	var all []error
	for range nodes {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}
