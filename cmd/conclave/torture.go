package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/node/torture"
)

// tortureFlags say which schedules run, and for how long.
type tortureFlags struct {
	schedules, first uint64
	every            time.Duration // between lines about how far it is
	length           time.Duration // 0: until the schedules are done
	steps            bool
	simulate         bool
	processes        bool // nothing but a name for the default
	live             liveFlags
}

func (a *app) tortureCommand() *cobra.Command {
	var f tortureFlags
	cmd := &cobra.Command{
		Use:   "torture",
		Short: "Break a cluster of real nodes at random and check what must hold",
		Long: `Starts a cluster of real nodes and an upstream that keeps the true bill, and kills, stops and suspends
nodes under load, damages their files, exchanges the cluster's keys, restores backups and takes the quorum
away; as root, and where network namespaces and loop devices are permitted, it parts nodes, fills their
disks and has their power fail; with --next they change to another program and back. What the machine does
not permit is left out, and the report says so. All that was seen is written into the report, which
"conclave torture check" judges again from its files.

With --simulate it drives this program's own state machine and leases through random schedules: ticks
that are lost, repeated and reordered, replicas that lag, processes that are killed with and without
the end of their journal, members that are removed and go on spending, limits that change, and windows
that end while all is down, with clocks that are up to five seconds off. After each step it looks
whether a budget could be overspent or a bill lost.
That touches no cluster and no network; its files are in a folder of their own, which it removes.`,
		Example: `  conclave torture --for 10m --dir report
  conclave torture --for 10m --next ./conclave-1.5
  conclave torture check report
  conclave torture --simulate --for 1h
  conclave torture --simulate --first 4711 --schedules 1 --steps`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.simulate {
				return a.torture(cmd.Context(), f)
			}
			return a.tortureProcesses(cmd.Context(), f)
		},
	}
	cmd.AddCommand(a.tortureCheck())
	cmd.Flags().BoolVar(&f.simulate, "simulate", false, "drive schedules in this process instead of real nodes")
	cmd.Flags().BoolVar(&f.processes, "processes", false, "torture real nodes: the default")
	_ = cmd.Flags().MarkHidden("processes") // reports of earlier runs name it
	cmd.MarkFlagsMutuallyExclusive("simulate", "processes")
	cmd.Flags().StringVar(&f.live.dir, "dir", "", "folder of the report (default: torture-SEED)")
	cmd.Flags().Uint64Var(&f.live.seed, "seed", 0, "chooses the faults (default: of the clock)")
	cmd.Flags().IntVar(&f.live.nodes, "nodes", 3, "how many nodes, 1 to 7")
	cmd.Flags().StringVar(&f.live.next, "next", "", "another version of this program, that nodes change to and back (default: none does)")
	cmd.Flags().StringVar(&f.live.journal, "journal", "fsync", "mode of the nodes' journals: fsync, or write, with which power failures are left out")
	cmd.Flags().Uint64Var(&f.schedules, "schedules", 100_000, "with --simulate: how many; 0 with --for: as many as the time allows")
	cmd.Flags().Uint64Var(&f.first, "first", 1, "with --simulate: number of the first schedule")
	cmd.Flags().DurationVar(&f.length, "for", 0, "how long, for example 1h")
	cmd.Flags().BoolVar(&f.steps, "steps", false, "with --simulate: print what happens in the last schedule")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return f.check(cmd.Flags().Changed) }
	f.every = 5 * time.Second
	return cmd
}

// check refuses flags that mean nothing together, of which some are given.
func (f *tortureFlags) check(given func(flag string) bool) error {
	for _, name := range []string{"schedules", "first", "steps"} {
		if !f.simulate && given(name) {
			return fmt.Errorf("--%s is for schedules: give --simulate, too", name)
		}
	}
	for _, name := range []string{"dir", "seed", "nodes", "next", "journal"} {
		if f.simulate && given(name) {
			return fmt.Errorf("--%s is for real nodes: leave --simulate out", name)
		}
	}
	if !slices.Contains([]string{"fsync", "write"}, f.live.journal) {
		return fmt.Errorf("--journal %s: give fsync or write", f.live.journal)
	}
	if f.length > 0 && !given("schedules") {
		f.schedules = 0
	}
	if f.simulate && f.length == 0 && f.schedules == 0 {
		return errors.New("give --schedules, --for, or both")
	}
	return nil
}

// torture runs the schedules and tells how far it is.
func (a *app) torture(ctx context.Context, f tortureFlags) error {
	dir, err := os.MkdirTemp("", "conclave-torture-")
	if err != nil {
		return fmt.Errorf("make a folder for schedules: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if f.length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.length)
		defer cancel()
	}
	began := time.Now()
	cfg := torture.Config{Dir: dir, First: f.first, Schedules: f.schedules, Each: a.tortureProgress(f, began)}
	if f.steps {
		cfg.Steps = func(s string) { fmt.Fprintln(a.stdout, s) }
	}
	got, err := torture.Run(ctx, cfg)
	if b, ok := errors.AsType[*torture.Broken](err); ok {
		return fmt.Errorf("%w\nagain: conclave torture --simulate --first %d --schedules 1 --steps", err, b.Schedule)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%d schedules in %s: %d requests admitted, %d refused; no budget overspent, no bill lost\n",
		got.Schedules, time.Since(began).Round(time.Second), got.Admitted, got.Refused)
	return nil
}

// tortureProgress tells now and then how many schedules are done.
func (a *app) tortureProgress(f tortureFlags, began time.Time) func(uint64) {
	var mu sync.Mutex // guards last
	last := began
	return func(done uint64) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(last) < f.every {
			return
		}
		last = time.Now()
		of := ""
		if f.schedules > 0 {
			of = fmt.Sprintf(" of %d", f.schedules)
		}
		fmt.Fprintf(a.stderr, "%d%s schedules, %.0f a second\n", done, of, float64(done)/time.Since(began).Seconds())
	}
}
