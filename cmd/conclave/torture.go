package main

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	processes        bool
	live             liveFlags
}

func (a *app) tortureCommand() *cobra.Command {
	var f tortureFlags
	cmd := &cobra.Command{
		Use:   "torture",
		Short: "Hold the budgets against random faults",
		Long: `Drives this program's own state machine and leases through random schedules: ticks that are lost,
repeated and reordered, replicas that lag, processes that are killed with and without the end of
their journal, members that are removed and go on spending, limits that change, and windows that
end while all is down. After each step it looks whether a budget could be overspent or a bill lost.
It touches no cluster and no network; its files are in a folder of their own, which it removes.

With --processes it starts a cluster of real nodes and an upstream that keeps the true bill, and kills,
stops, suspends and (as root, where network namespaces are permitted) parts the nodes under load. All
that was seen is written into a report, which "conclave torture check" judges again from its files.`,
		Example: `  conclave torture --for 1h
  conclave torture --first 4711 --schedules 1 --steps
  conclave torture --processes --for 10m --dir report
  conclave torture check report`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.processes {
				return a.tortureProcesses(cmd.Context(), f)
			}
			return a.torture(cmd.Context(), f)
		},
	}
	cmd.AddCommand(a.tortureCheck())
	cmd.Flags().BoolVar(&f.processes, "processes", false, "torture real nodes in processes of their own")
	cmd.Flags().StringVar(&f.live.dir, "dir", "", "with --processes: folder of the report (default: torture-SEED)")
	cmd.Flags().Uint64Var(&f.live.seed, "seed", 0, "with --processes: chooses the faults (default: of the clock)")
	cmd.Flags().IntVar(&f.live.nodes, "nodes", 3, "with --processes: how many nodes, 1 to 7")
	cmd.Flags().Uint64Var(&f.schedules, "schedules", 100_000, "how many; 0 with --for: as many as the time allows")
	cmd.Flags().Uint64Var(&f.first, "first", 1, "number of the first schedule")
	cmd.Flags().DurationVar(&f.length, "for", 0, "how long, for example 1h")
	cmd.Flags().BoolVar(&f.steps, "steps", false, "print what happens in the last schedule")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if f.length > 0 && !cmd.Flags().Changed("schedules") {
			f.schedules = 0
		}
		if f.length == 0 && f.schedules == 0 {
			return errors.New("give --schedules, --for, or both")
		}
		return nil
	}
	f.every = 5 * time.Second
	return cmd
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
		return fmt.Errorf("%w\nagain: conclave torture --first %d --schedules 1 --steps", err, b.Schedule)
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
