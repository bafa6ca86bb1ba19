package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
	"github.com/conclave-llm/conclave/config/load"
	"github.com/conclave-llm/conclave/node/consensus/recovery"
)

// acknowledge is the flag without which recover only looks.
const acknowledge = "i-know-this-commits-uncommitted-entries"

// recoverFlags are the flags of `recover`.
type recoverFlags struct {
	file, dir string
	sure      bool
	verbose   bool
}

func (a *app) recoverCommand() *cobra.Command {
	var f recoverFlags
	cmd := &cobra.Command{
		Use:   "recover --config FILE --" + acknowledge,
		Short: "Make this node a cluster of its own, after most of its voters are lost for good",
		Long: `Makes a stopped node the only member of its cluster, with all that its log has: what was not known
to be committed, too. The other members are dead from then on; what they held of budgets is presumed
spent until its windows end. Without --` + acknowledge + ` it only checks the log
and prints its last index: of several survivors, go on with the one that has the highest. It refuses
while another node answers. New nodes join with tokens and empty folders, as always.

Prefer starting the old nodes, if their disks exist: then nothing is lost and nothing is to be done.`,
		Example: `  conclave recover --config a.hcl                          # look
  conclave recover --config a.hcl --` + acknowledge + `
  conclave serve --config a.hcl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.recover(cmd.Context(), f) },
	}
	cmd.Flags().StringVar(&f.file, "config", "", "configuration file of the node (HCL)")
	cmd.Flags().StringVar(&f.dir, "data-dir", "", "its data folder, instead of the file")
	cmd.Flags().BoolVar(&f.sure, acknowledge, false, "do it")
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "show what Raft logs")
	cmd.MarkFlagsOneRequired("config", "data-dir")
	cmd.MarkFlagsMutuallyExclusive("config", "data-dir")
	return cmd
}

// recover looks at a node's folder and, if that is wished, makes it a cluster of its own.
func (a *app) recover(ctx context.Context, f recoverFlags) error {
	dir := f.dir
	if f.file != "" {
		n, _, err := load.Node(f.file, os.LookupEnv)
		if err != nil {
			return &console.ExitError{Code: 78, Err: err}
		}
		dir = n.DataDir
	}
	logger := slog.New(slog.DiscardHandler)
	if f.verbose {
		logger = slog.New(slog.NewTextHandler(a.stderr, nil))
	}
	s, err := recovery.Open(recovery.Config{
		Dir: dir, Logger: logger, Tell: func(step string) { fmt.Fprintf(a.stderr, "%s …\n", step) },
	})
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // what matters was synced
	met := s.Meet(ctx)
	a.showSurvivor(s)
	switch {
	case met != nil:
		return met
	case !f.sure:
		return fmt.Errorf("nothing was changed; add --%s to make node %s a cluster of its own with entry %d as its last", acknowledge, s.NodeID, s.Index())
	}
	r, err := s.Recover()
	if err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	a.showRecovered(r, cmp.Or(f.file, "FILE"))
	return nil
}

// showSurvivor prints what the folder has.
func (a *app) showSurvivor(s *recovery.Survivor) {
	fmt.Fprintf(a.stdout, "node %s of cluster %s\n", s.NodeID, s.ClusterID)
	fmt.Fprintf(a.stdout, "last index %d, term %d; log %d to %d, snapshot at %d; all of it is whole\n", s.Index(), s.Term, s.First, s.Last, s.Snapshot)
	for _, v := range s.Servers {
		state := "does not answer"
		switch {
		case v.Self:
			state = "this node"
		case v.Alive:
			state = "ANSWERS"
		}
		role := "voter"
		if !v.Votes {
			role = "does not vote"
		}
		fmt.Fprintf(a.stdout, "  %s  %s  %s  %s\n", v.ID, v.Address, role, state)
	}
}

// showRecovered prints what was done and what comes next.
func (a *app) showRecovered(r recovery.Result, file string) {
	fmt.Fprintf(a.stdout, "recovered: kept everything up to index %d; generation %d\n", r.Index, r.Generation)
	for _, m := range r.Lost {
		fmt.Fprintf(a.stdout, "  %s (%s) is dead: what it held of budgets is presumed spent, and its id never joins again\n", m.Name, m.ID)
	}
	fmt.Fprintf(a.stdout, "next: conclave serve --config %s\n", file)
	fmt.Fprintln(a.stdout, "then, for each new node: conclave cluster join-token, and conclave serve --join HOST:4001 --token TOKEN with an empty folder")
}
