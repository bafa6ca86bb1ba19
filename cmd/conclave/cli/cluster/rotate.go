package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
)

// rotationColumns are those of the table of rotations.
var rotationColumns = []console.Column{
	{"KEY", "kind"},
	{"STEP", "step"},
	{"ID", "id"},
	{"BEGAN", "began"},
	{"BY", "by"},
	{"WAITING FOR", "waiting"},
	{"LATE", "late"},
	{"UNTIL", "until"},
}

// rotationKinds are the cluster's own keys.
var rotationKinds = []struct{ kind, short string }{
	{"kek", "Exchange the key that wraps the other keys of the cluster"},
	{"dek", "Exchange the data key, and seal every stored secret anew"},
	{"ca", "Exchange the cluster's CA, and every node's certificate"},
	{"gossip", "Exchange the key that gossip is encrypted with"},
	{"node-certs", "Renew every node's certificate now"},
}

func (a *app) clusterRotate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Exchange one of the cluster's own keys while it runs, or show the newest rotations",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			page, err := a.Client().Rotations(cmd.Context())
			if err != nil {
				return err
			}
			return a.PrintList(page, console.LooseAll(page.Items), rotationColumns)
		},
	}
	for _, k := range rotationKinds {
		cmd.AddCommand(a.rotateKey(k.kind, k.short))
	}
	return cmd
}

func (a *app) rotateKey(kind, short string) *cobra.Command {
	var overlap string
	var wait time.Duration
	cmd := &cobra.Command{Use: kind, Short: short, Args: cobra.NoArgs}
	dry := dryRun(cmd)
	if kind == "ca" || kind == "gossip" {
		cmd.Flags().StringVar(&overlap, "overlap", "", "how long the old one is accepted for nodes that are away (default 24h, at most 30d)")
	}
	cmd.Flags().DurationVar(&wait, "wait", time.Minute, "how long to wait until the nodes have done it; 0: not at all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, err := a.Client().RotateClusterKey(cmd.Context(), kind, overlap, client.Run(*dry))
		if err != nil {
			return err
		}
		if *dry {
			a.SaySo(true, "the rotation of %s begins with the step %s of %s", kind, r.Step, console.Printable(strings.Join(r.Waiting, ", ")))
			return nil
		}
		if r, err = a.awaitRotation(cmd.Context(), r, wait); err != nil {
			return err
		}
		if kind == "kek" {
			a.printWarnings(cmd.Context())
		}
		return a.PrintOne(r)
	}
	return cmd
}

// printWarnings prints what the nodes warn of: after an exchange of the KEK the values that were sealed under the old one.
func (a *app) printWarnings(ctx context.Context) {
	c, err := a.Client().Cluster(ctx)
	if err != nil {
		return // the rotation is what was asked for
	}
	for _, m := range c.Members {
		for _, w := range m.Warnings {
			fmt.Fprintf(a.Stderr, "node %s: %s\n", console.Printable(m.Name), console.Printable(w))
		}
	}
}

// awaitRotation waits until the nodes have taken the steps of a rotation, and tells of each.
func (a *app) awaitRotation(ctx context.Context, r client.ClusterRotation, wait time.Duration) (client.ClusterRotation, error) {
	deadline := time.Now().Add(wait)
	for step := ""; ; {
		if r.Step != step {
			step = r.Step
			a.SaySo(false, "%s: %s", r.Kind, step)
		}
		if step == "done" || step == "overlap" || time.Now().After(deadline) {
			return r, nil
		}
		timer := time.NewTimer(200 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return r, ctx.Err()
		case <-timer.C:
		}
		page, err := a.Client().Rotations(ctx)
		if err != nil {
			return r, err
		}
		for _, one := range page.Items {
			if one.Kind == r.Kind && one.ID != r.ID {
				return r, fmt.Errorf("another rotation of %s has begun meanwhile", r.Kind)
			}
			if one.Kind == r.Kind {
				r = one
			}
		}
	}
}
