package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/snapfile"
	"github.com/conclave-llm/conclave/node/backup/archive"
	"github.com/conclave-llm/conclave/secret"
)

func (a *app) snapshotCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "snapshot", Short: "Backups of the cluster's state: save, take, list, inspect, diff, verify, restore", Args: cobra.NoArgs}
	cmd.AddCommand(a.snapshotSave(), a.snapshotTake(), a.snapshotList(), a.snapshotInspect(), a.snapshotDiff(), a.snapshotVerify(), a.snapshotRestore())
	return cmd
}

func (a *app) snapshotSave() *cobra.Command {
	var name string
	var force bool
	cmd := &cobra.Command{
		Use:   "save FILE",
		Short: "Write a backup of the cluster's state, as it is now, to a file",
		Long: `Writes a consistent backup of the whole state to a file with mode 0600. It has the data keys as the
KEK wraps them, and never the KEK: keep that apart. The file is checked before it gets its name.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, size, err := a.PatientClient().DownloadSnapshot(cmd.Context(), name)
			if err != nil {
				return err
			}
			defer func() { _ = body.Close() }()
			in := &snapfile.Meter{R: body, To: a.Stderr, What: "downloaded", Total: size}
			m, err := snapfile.Save(in, args[0], snapfile.Mode(force))
			if err != nil {
				return err
			}
			fmt.Fprintf(a.Stderr, "saved index %d of cluster %s as %s, %d bytes\n", m.Index, m.ClusterID, console.Printable(args[0]), size)
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", "current", "a kept snapshot instead of one of now")
	cmd.Flags().BoolVar(&force, "force", false, "replace the file if it is there")
	return cmd
}

func (a *app) snapshotTake() *cobra.Command {
	cmd := &cobra.Command{Use: "take", Short: "Make a backup and keep it where the setting snapshots says", Args: cobra.NoArgs}
	dry := cmd.Flags().Bool("dry-run", false, "make it and read it back, and do not keep it")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := a.PatientClient().TakeSnapshot(cmd.Context(), client.Run(*dry))
		if err != nil {
			return err
		}
		if *dry {
			a.SaySo(true, "this is kept")
		}
		return a.PrintOne(s)
	}
	return cmd
}

func (a *app) snapshotList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the kept backups, the newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := a.Client().Snapshots(cmd.Context())
			if err != nil {
				return err
			}
			for _, id := range all.Silent {
				fmt.Fprintf(a.Stderr, "node %s does not answer; what it keeps is not in the list\n", console.Printable(id))
			}
			return a.PrintList(all, console.LooseAll(all.Items), []console.Column{
				{"NAME", "name"}, {"TAKEN", "taken_at"}, {"GENERATION", "generation"}, {"INDEX", "index"}, {"BYTES", "size"}, {"NODE", "node"},
			})
		},
	}
}

func (a *app) snapshotInspect() *cobra.Command {
	var redact bool
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Tell what a backup is of; no node is asked",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if redact {
				r, err := snapfile.Redact(args[0], a.Stderr)
				if err != nil {
					return err
				}
				return a.PrintOne(r)
			}
			m, err := snapfile.Inspect(args[0])
			if err != nil {
				return err
			}
			return a.PrintOne(m)
		},
	}
	cmd.Flags().BoolVar(&redact, "redact", false, "for somebody who may not know whose it is: how many records of each kind, without names and ids (reads all of it)")
	return cmd
}

func (a *app) snapshotDiff() *cobra.Command {
	return &cobra.Command{
		Use:   "diff FILE FILE",
		Short: "Tell which records the second backup has otherwise than the first; no node is asked",
		Long: `Reads all of two backups and tells which records were created, changed or deleted from the first to the
second, with the fields that differ. No secret is shown: sealed ones are their fingerprints. What requests write (accounts,
totals, the audit log, stored responses, blobs) is not compared.`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := snapfile.Differences(args[0], args[1], a.Stderr)
			if err != nil {
				return err
			}
			return a.PrintList(all, console.LooseAll(all), []console.Column{{"CHANGE", "change"}, {"KIND", "kind"}, {"ID", "id"}, {"NAME", "name"}, {"FIELDS", "fields"}})
		},
	}
}

func (a *app) snapshotVerify() *cobra.Command {
	var kek string
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Read every value of a backup; no node is asked",
		Long: `Reads all of a backup: its SHA-256, the checksum of every value, the state hash; with --kek also that
nobody has changed it since, and that its data keys open.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var keeper archive.Keeper
			if kek != "" {
				k, err := secret.LoadKEK(kek)
				if err != nil {
					return err
				}
				keeper = k
			}
			v, err := snapfile.Verify(args[0], keeper, a.Stderr)
			if err != nil {
				return err
			}
			return a.PrintOne(v)
		},
	}
	cmd.Flags().StringVar(&kek, "kek", "", "file with the KEK of the cluster, such as its DATA/kek")
	return cmd
}

// restoreFlags are the flags of `snapshot restore`.
type restoreFlags struct {
	name, spend, revoked string
	foreign, dry         bool
	wait                 time.Duration
}

func (a *app) snapshotRestore() *cobra.Command {
	var f restoreFlags
	cmd := &cobra.Command{
		Use:   "restore FILE | --name NAME",
		Short: "Put a backup in the place of the cluster's state",
		Long: `Puts a backup in the place of the cluster's state, on all nodes. Its records count from then on. The
cluster stays who it is: its nodes, its id, its certificates, its master key and its audit log. Nodes
tell again what they spent since the backup, from their journals; nothing is granted to budgets until
all have. A file that is damaged, of another KEK or, without --force-cluster-id, of another cluster is
refused, and nothing is changed then. See what would happen with --dry-run first.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == (f.name != "") {
				return &console.ExitError{Code: 2, Err: errors.New("name a file, or a kept snapshot with --name")}
			}
			return a.restore(cmd.Context(), args, f)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.name, "name", "", "a kept snapshot, as snapshot list has it")
	fl.StringVar(&f.spend, "spend", "replay", "what was spent since: replay, or as-of-backup to forget it")
	fl.StringVar(&f.revoked, "revoked", "", "keys that were revoked since: block, or revive to let them work again (default: refuse)")
	fl.BoolVar(&f.foreign, "force-cluster-id", false, "restore another cluster's backup into this one")
	fl.BoolVar(&f.dry, "dry-run", false, "check only, change nothing")
	fl.DurationVar(&f.wait, "wait", 2*time.Minute, "how long to wait until every node has told what it spent; 0: not at all")
	return cmd
}

func (a *app) restore(ctx context.Context, args []string, f restoreFlags) error {
	q := url.Values{"dry_run": {strconv.FormatBool(f.dry)}, "force_cluster_id": {strconv.FormatBool(f.foreign)}, "spend": {f.spend}}
	if f.revoked != "" {
		q.Set("revoked", f.revoked)
	}
	api := a.PatientClient()
	out, err := a.sendRestore(ctx, api, args, f.name, q)
	if err != nil {
		return err
	}
	for _, w := range out.Warnings {
		fmt.Fprintf(a.Stderr, "warning: %s\n", console.Printable(w))
	}
	for _, r := range out.Revoked {
		fmt.Fprintf(a.Stderr, "revoked since: %s\n", console.Printable(r))
	}
	if err := a.PrintOne(out); err != nil {
		return err
	}
	switch {
	case out.Refused != "":
		return fmt.Errorf("nothing was changed; it would be refused: %s", out.Refused)
	case f.dry:
		fmt.Fprintln(a.Stderr, "nothing was changed")
		return nil
	}
	fmt.Fprintf(a.Stderr, "restored index %d; generation %d\n", out.Index, out.Generation)
	return a.awaitReplay(ctx, api, f.wait)
}

// sendRestore asks for the restore of a file or of a kept backup.
func (a *app) sendRestore(ctx context.Context, api *client.Client, args []string, name string, q url.Values) (client.Restore, error) {
	if name != "" {
		return api.RestoreKept(ctx, name, q)
	}
	if _, err := snapfile.Inspect(args[0]); err != nil {
		return client.Restore{}, err
	}
	file, err := os.Open(args[0])
	if err != nil {
		return client.Restore{}, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	info, err := file.Stat()
	if err != nil {
		return client.Restore{}, err
	}
	in := &snapfile.Meter{R: file, To: a.Stderr, What: "uploaded", Total: info.Size()}
	return api.RestoreSnapshot(ctx, in, info.Size(), q)
}

// awaitReplay waits until every node has told what it spent before the restore.
func (a *app) awaitReplay(ctx context.Context, api *client.Client, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	said := ""
	for limit > 0 {
		c, err := api.Cluster(ctx)
		if err == nil {
			waiting := replaying(c.Members)
			if waiting == "" {
				fmt.Fprintln(a.Stderr, "every node has told what it spent")
				return nil
			}
			if waiting != said {
				said = waiting
				fmt.Fprintf(a.Stderr, "waiting for what was spent by %s\n", waiting)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the backup is restored, but nothing is granted to budgets until these nodes are back or removed: %s", said)
		case <-tick.C:
		}
	}
	return nil
}

// replaying names the nodes that have not told yet what they spent before the restore.
func replaying(members []client.Member) string {
	var names []string
	for _, m := range members {
		if m.Replaying {
			names = append(names, console.Printable(m.Name))
		}
	}
	return strings.Join(names, ", ")
}
