package cluster

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/snapfile"
)

func (a *app) clusterUpgrade() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "The programs of the nodes, and the cluster's version: status, start, finalise, rollback",
		Long: `Programs of two versions run mixed. What only the newer one can do waits until the cluster's
version is raised, which is refused while any node does not run it. Until then every node can go
back to the older program; afterwards it cannot.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.printUpgrade(a.Client().Versions(cmd.Context())) },
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "status", Short: "Show which programs and versions the nodes run, and how far the last rollout is", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return a.printUpgrade(a.Client().Versions(cmd.Context())) },
		},
		a.upgradeStart(), a.upgradeFinalise(), a.upgradeRollback(),
	)
	return cmd
}

func (a *app) upgradeStart() *cobra.Command {
	var health, hold time.Duration
	var wait bool
	cmd := &cobra.Command{
		Use:   "start BUNDLE",
		Short: "Roll a signed bundle out to every node, one after the other",
		Long: `Sends the bundle to one node, which keeps it for all. Each node verifies its publisher's signature,
and takes the program when it is its turn: it finishes its requests and starts the new one. The leader
is the last. If a node does not get well with it, all go back to what they ran before.`,
		Args: cobra.ExactArgs(1),
	}
	dry := dryRun(cmd)
	cmd.Flags().DurationVar(&health, "health", 0, "how long a node may be ill before all go back (default 1m)")
	cmd.Flags().DurationVar(&hold, "hold", 0, "how long a node must be well before the next one's turn (default 5s)")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it is done, and fail if it is rolled back")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		in := &snapfile.Meter{R: f, To: a.Stderr, What: "sent", Total: info.Size()}
		r, err := a.PatientClient().StartUpgrade(cmd.Context(), in, info.Size(), health, hold, client.Run(*dry))
		if err != nil {
			return err
		}
		a.SaySo(*dry, "version %s, signed by %s, is rolled out", r.Version, r.Signer)
		if *dry || !wait {
			return nil
		}
		return a.awaitRollout(cmd, r.ID)
	}
	return cmd
}

// awaitRollout tells how a rollout goes until it ends. A node that is asked may be stopping.
func (a *app) awaitRollout(cmd *cobra.Command, id string) error {
	last := ""
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		u, err := a.Client().Versions(cmd.Context())
		if err == nil && u.Rollout != nil && u.Rollout.ID == id {
			r := u.Rollout
			if now := r.State + " " + r.Turn; now != last {
				last = now
				fmt.Fprintf(a.Stderr, "%s: %s %s\n", r.Version, r.State, console.Printable(r.Turn))
			}
			switch r.State {
			case "done":
				return a.printUpgrade(u, nil)
			case "rolled_back":
				return fmt.Errorf("version %s was rolled back: %s", r.Version, console.Printable(r.Reason))
			}
		}
		select {
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		case <-tick.C:
		}
	}
}

func (a *app) upgradeFinalise() *cobra.Command {
	var version uint32
	cmd := &cobra.Command{
		Use:     "finalise",
		Aliases: []string{"finalize"},
		Short:   "Raise the cluster's version to what every node runs; there is no way back",
		Args:    cobra.NoArgs,
	}
	dry := dryRun(cmd)
	cmd.Flags().Uint32Var(&version, "version", 0, "to which version (default: the newest that every node runs)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.printUpgrade(a.Client().FinalizeUpgrade(cmd.Context(), version, client.Run(*dry)))
	}
	return cmd
}

func (a *app) upgradeRollback() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Have every node go back to the program that it ran before the last rollout",
		Args:  cobra.NoArgs,
	}
	dry := dryRun(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.printUpgrade(a.Client().RollbackUpgrade(cmd.Context(), reason, client.Run(*dry)))
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why; it is shown")
	return cmd
}

func (a *app) printUpgrade(u client.Upgrade, err error) error {
	if err != nil {
		return err
	}
	if u.DryRun {
		a.SaySo(true, "the version and the rollout are these")
	}
	table, _ := a.Tables()
	if table {
		fmt.Fprintf(a.Stdout, "version %d, possible %d\n\n", u.Version, u.Possible)
	}
	if err := a.PrintList(u, console.LooseAll(u.Nodes), []console.Column{{"ID", "id"}, {"NAME", "name"}, {"PROGRAM", "binary"}, {"OLDEST", "oldest"}, {"NEWEST", "newest"}}); err != nil || !table || u.Rollout == nil {
		return err
	}
	fmt.Fprintf(a.Stdout, "\nrollout of %s: %s %s\n\n", u.Rollout.Version, u.Rollout.State, console.Printable(u.Rollout.Reason))
	return a.PrintList(u.Rollout, console.LooseAll(u.Rollout.Nodes), []console.Column{{"ID", "id"}, {"NAME", "name"}, {"STEP", "step"}, {"SINCE", "since"}, {"REASON", "reason"}})
}
