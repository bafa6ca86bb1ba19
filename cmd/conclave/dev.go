package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/declare"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
	"github.com/conclave-llm/conclave/config/load"
	"github.com/conclave-llm/conclave/mock"
	"github.com/conclave-llm/conclave/node"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

const (
	devMock  = 90 // added to the first port
	devReady = 30 * time.Second
	devFile  = "dev.json"
)

// devFlags are the flags of `dev`.
type devFlags struct {
	nodes     int
	dir       string
	port      int
	file      string
	processes bool
	verbose   bool
}

func (a *app) devCommand() *cobra.Command {
	var f devFlags
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster on this machine with a demo model",
		Long: `Runs some nodes on loopback in one process, with a demo upstream and a demo model, and prints
how to use them. Node i has client port PORT+10i and cluster port PORT+10i+1; the demo upstream
has PORT+90. A second run finds the data of the first.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.dev(cmd.Context(), f) },
	}
	cmd.Flags().IntVar(&f.nodes, "nodes", 3, "number of nodes, 1 to 7")
	cmd.Flags().StringVar(&f.dir, "data-dir", ".conclave", "folder for the data")
	cmd.Flags().IntVar(&f.port, "port", 4000, "client port of the first node")
	cmd.Flags().StringVar(&f.file, "config", "", "file (HCL) with records to apply beside the demo model")
	cmd.Flags().BoolVar(&f.processes, "processes", false, "run every node in a process of its own")
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "show the nodes' logs")
	return cmd
}

// devKeys are what dev.json keeps.
type devKeys struct {
	Nodes     int    `json:"nodes"`
	Port      int    `json:"port"`
	MasterKey string `json:"master_key"`
	DemoKey   string `json:"demo_key"`
}

// devCluster is a running cluster of `dev`.
type devCluster struct {
	app   *app
	flags devFlags
	keys  devKeys
	seats []node.Seat

	declared *declare.File // by --config; nil: nothing
	blobs    [][]byte      // files that it names
}

func (a *app) dev(ctx context.Context, f devFlags) error {
	if f.nodes < 1 || f.nodes > 7 || f.port < 1 || f.port+devMock > 65535 {
		return errors.New("dev runs 1 to 7 nodes, on ports up to 65535")
	}
	d := &devCluster{app: a, flags: f}
	if f.file != "" {
		if f.processes {
			return errors.New("--config goes with nodes in one process; without it, apply records to the running nodes")
		}
		file, err := load.File(f.file, os.LookupEnv)
		if err != nil {
			return &console.ExitError{Code: 78, Err: err}
		}
		declared := declare.FromConfig(&file.Resources)
		d.declared, d.blobs = &declared, file.BlobBodies()
	}
	for i := range f.nodes {
		d.seats = append(d.seats, node.Seat{
			Name: fmt.Sprintf("node%d", i+1), DataDir: filepath.Join(f.dir, fmt.Sprintf("node%d", i+1)), Cluster: d.addr(10*i + 1),
		})
	}
	if err := d.found(); err != nil {
		return err
	}
	stopMock, err := d.startMock(ctx)
	if err != nil {
		return err
	}
	defer stopMock()
	if f.processes {
		return d.runProcesses(ctx)
	}
	return d.runNodes(ctx)
}

func (d *devCluster) addr(offset int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(d.flags.port+offset))
}

// found reads dev.json, or makes it and the nodes' folders.
func (d *devCluster) found() error {
	path := filepath.Join(d.flags.dir, devFile)
	b, err := os.ReadFile(path)
	if err == nil {
		if err := json.Unmarshal(b, &d.keys); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		if d.keys.Nodes != d.flags.nodes || d.keys.Port != d.flags.port {
			return fmt.Errorf("%s holds %d nodes from port %d; give --nodes %d --port %d, or another --data-dir",
				d.flags.dir, d.keys.Nodes, d.keys.Port, d.keys.Nodes, d.keys.Port)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	d.keys = devKeys{Nodes: d.flags.nodes, Port: d.flags.port, MasterKey: os.Getenv("CONCLAVE_MASTER_KEY"), DemoKey: resource.NewSecret()}
	if d.keys.MasterKey == "" {
		d.keys.MasterKey = resource.NewSecret()
	}
	if err := node.Found(secret.New(d.keys.MasterKey), secret.Text{}, d.seats...); err != nil {
		return err
	}
	out, err := json.MarshalIndent(d.keys, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(out, '\n'), 0o600)
}

// startMock serves the demo upstream.
func (d *devCluster) startMock(ctx context.Context) (stop func(), err error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", d.addr(devMock))
	if err != nil {
		return nil, fmt.Errorf("start the demo upstream: %w", err)
	}
	srv := &http.Server{Handler: mock.New(mock.Config{}), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(l) }() // ends with ErrServerClosed at stop
	return func() { _ = srv.Close() }, nil
}

// runNodes runs the nodes in this process until ctx ends.
func (d *devCluster) runNodes(ctx context.Context) error {
	level := new(slog.LevelVar)
	if !d.flags.verbose {
		level.Set(slog.LevelWarn)
	}
	logger := slog.New(slog.NewTextHandler(d.app.stderr, &slog.HandlerOptions{Level: level}))
	type started struct {
		n   *node.Node
		err error
	}
	all := make(chan started, len(d.seats))
	go tuneGC(ctx)
	for i, s := range d.seats {
		cfg := node.Config{
			Name: s.Name, DataDir: s.DataDir, Listen: d.addr(10 * i), Cluster: s.Cluster,
			MasterKey: secret.New(d.keys.MasterKey), DrainTimeout: 5 * time.Second,
			Version: programVersion(), Logger: logger,
		}
		if i == 0 {
			cfg.Resources, cfg.Blobs = d.declared, d.blobs
		}
		go func() {
			n, err := node.Start(ctx, cfg)
			all <- started{n, err}
		}()
	}
	var nodes []*node.Node
	var errs []error
	for range d.seats {
		s := <-all
		if s.err != nil {
			errs = append(errs, s.err)
		} else {
			nodes = append(nodes, s.n)
		}
	}
	if len(errs) == 0 {
		errs = append(errs, d.present(ctx))
	}
	if errors.Join(errs...) == nil {
		<-ctx.Done()
		fmt.Fprintln(d.app.stdout, "\nstopping")
	}
	if !d.flags.verbose {
		level.Set(slog.LevelError + 1) // nodes that stop together miss each other, which is no news
	}
	return errors.Join(append(errs, stopNodes(stopTimeout, nodes...))...)
}

// present loads the demo model and key, waits until all nodes are ready, and prints how to
// use them.
func (d *devCluster) present(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, devReady)
	defer cancel()
	for i := range d.seats {
		if err := awaitReady(ctx, "http://"+d.addr(10*i)); err != nil {
			return err
		}
	}
	if err := d.load(ctx); err != nil {
		return fmt.Errorf("load the demo model: %w", err)
	}
	w := d.app.stdout
	fmt.Fprintln(w, "Conclave runs. Endpoints (any of them will do):")
	for i := range d.seats {
		fmt.Fprintf(w, "  http://%s/v1\n", d.addr(10*i))
	}
	fmt.Fprintf(w, "\nadmin key:   %s\nvirtual key: %s\n\n", d.keys.MasterKey, d.keys.DemoKey)
	fmt.Fprintf(w, `curl http://%s/v1/chat/completions -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' -d '{"model": "demo", "messages": [{"role": "user", "content": "hello"}]}'`+"\n\n", d.addr(0), d.keys.DemoKey)
	fmt.Fprintln(w, "Add \"stream\": true to see it streamed. Ctrl-C stops all nodes; the next run finds their data.")
	return nil
}

// awaitReady polls a node's readiness.
func awaitReady(ctx context.Context, url string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/health/readiness", nil)
		if err != nil {
			return err
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", url, ctx.Err())
		case <-tick.C:
		}
	}
}

// load creates the demo model and the demo key, if they are not there.
func (d *devCluster) load(ctx context.Context) error {
	api := client.New(client.Config{Server: "http://" + d.addr(0), Key: d.keys.MasterKey})
	demo := map[string]any{
		"name": "demo", "strategy": resource.StrategyLeastBusy,
		"deployments": []any{map[string]any{
			"name": "mock", "provider": "openai", "api_base": "http://" + d.addr(devMock) + "/v1", "model": "demo",
			"price": map[string]any{"input": 0.15, "output": 0.60},
		}},
	}
	if _, err := api.Models().One(ctx, "demo"); isNotFound(err) {
		if _, err := api.Models().Create(ctx, demo); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if _, err := api.Keys().One(ctx, "demo"); !isNotFound(err) {
		return err
	}
	_, err := api.Keys().Create(ctx, map[string]any{"name": "demo", "secret": d.keys.DemoKey})
	return err
}

func isNotFound(err error) bool {
	p, ok := errors.AsType[*client.Problem](err)
	return ok && p.Status == http.StatusNotFound
}
