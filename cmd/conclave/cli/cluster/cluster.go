package cluster

import (
	"cmp"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
)

// nodeColumns are those of the table of nodes.
var nodeColumns = []console.Column{
	{"ID", "id"},
	{"NAME", "name"},
	{"ADDRESS", "address"},
	{"ROLE", "role"},
	{"REACHABLE", "reachable"},
	{"READY", "ready"},
	{"APPLIED", "applied"},
	{"LAG", "lag"},
	{"VERSION", "version"},
	{"IN FLIGHT", "in_flight"},
	{"CONTACT MS", "contact_ms"},
	{"DISK FREE", "disk_free"},
	{"DRAINED", "drained"},
	{"QUARANTINED", "quarantined"},
	{"REPLAYING", "replaying"},
	{"WARNINGS", "warnings"},
	{"LAST TICK", "last_tick"},
}

// nodeVerbs are what can be done with one node.
var nodeVerbs = []struct{ verb, short, done string }{
	{"promote", "Let a node vote again, as soon as it has caught up", "votes as soon as it has caught up"},
	{"demote", "Take a node's vote until it is promoted", "does not vote"},
	{"drain", "Take traffic and leadership from a node until it is undrained", "is drained"},
	{"undrain", "End the drain of a node", "is not drained"},
	{"repair", "Have a node fetch the state anew from the leader, and end its quarantine", "has fetched the state anew"},
	{"remove", "Remove a node for ever; it joins again only with an empty folder", "is removed"},
}

func (a *app) clusterCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "cluster", Short: "The nodes of the cluster", Args: cobra.NoArgs}
	cmd.AddCommand(a.clusterStatus(), a.clusterNodes(), a.clusterJoinToken(), a.clusterTransfer(), a.clusterReplace(), a.clusterUpgrade(), a.clusterRotate())
	for _, v := range nodeVerbs {
		cmd.AddCommand(a.nodeVerb(v))
	}
	return cmd
}

func (a *app) clusterStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show members, leader and lag",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.Client().Cluster(cmd.Context())
			if err != nil {
				return err
			}
			if table, _ := a.Tables(); table {
				fmt.Fprintf(a.Stdout, "cluster %s  version %d  generation %d  applied %d  voters %d, of which %d answer and %d are needed\n\n",
					c.ID, c.Version, c.Generation, c.Applied, c.Votes.Voters, c.Votes.Alive, c.Votes.Need)
			}
			if err := a.PrintList(c, console.LooseAll(c.Members), nodeColumns); err != nil {
				return err
			}
			if table, _ := a.Tables(); table && len(c.Rotations) > 0 {
				fmt.Fprintln(a.Stdout)
				return a.PrintList(c.Rotations, console.LooseAll(c.Rotations), rotationColumns)
			}
			return nil
		},
	}
}

func (a *app) clusterNodes() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "nodes [NODE]",
		Aliases: []string{"node"},
		Short:   "List the nodes, or show all that is known of one",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.Client().Cluster(cmd.Context())
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return a.PrintList(c.Members, console.LooseAll(c.Members), nodeColumns)
			}
			for _, m := range c.Members {
				if m.ID == args[0] || m.Name == args[0] {
					return a.PrintOne(m)
				}
			}
			return fmt.Errorf("the cluster has no node %q", args[0])
		},
	}
	return cmd
}

// dryRun adds the flag to a command.
func dryRun(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("dry-run", false, dryRunUsage)
}

const dryRunUsage = "check only, change nothing"

func (a *app) nodeVerb(v struct{ verb, short, done string }) *cobra.Command {
	cmd := &cobra.Command{Use: v.verb + " NODE", Short: v.short, Args: cobra.ExactArgs(1)}
	dry := dryRun(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		out, err := a.Client().ChangeNode(cmd.Context(), v.verb, args[0], client.Run(*dry))
		if err != nil {
			return err
		}
		a.SaySo(*dry, "node %s %s; voters %d, of which %d answer and %d are needed", console.Printable(args[0]), v.done, out.Votes.Voters, out.Votes.Alive, out.Votes.Need)
		return nil
	}
	return cmd
}

func (a *app) clusterJoinToken() *cobra.Command {
	var ttl string
	var dry bool
	create := func(cmd *cobra.Command, _ []string) error {
		t, err := a.Client().JoinToken(cmd.Context(), ttl, client.Run(dry))
		return a.printToken(t, err)
	}
	cmd := &cobra.Command{Use: "join-token", Short: "Make a token for one node to join with", Args: cobra.NoArgs, RunE: create}
	cmd.PersistentFlags().StringVar(&ttl, "ttl", "15m", "how long it is valid, at most 24h")
	cmd.PersistentFlags().BoolVar(&dry, "dry-run", false, dryRunUsage)
	cmd.AddCommand(
		&cobra.Command{Use: "create", Short: "Make a token for one node to join with", Args: cobra.NoArgs, RunE: create},
		&cobra.Command{
			Use: "list", Short: "List the tokens that can be used", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				page, err := a.Client().JoinTokens(cmd.Context())
				if err != nil {
					return err
				}
				return a.PrintList(page, console.LooseAll(page.Items), []console.Column{
					{"ID", "id"},
					{"EXPIRES", "expires"},
					{"CREATED", "created_at"},
					{"BY", "created_by"},
					{"REPLACES", "replaces"},
				})
			},
		},
		&cobra.Command{
			Use: "revoke ID", Short: "Make a token useless", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				if err := a.Client().RevokeJoinToken(cmd.Context(), args[0], client.Run(dry)); err != nil {
					return err
				}
				a.SaySo(dry, "join token %s is useless", console.Printable(args[0]))
				return nil
			},
		},
	)
	return cmd
}

func (a *app) printToken(t client.JoinToken, err error) error {
	if err != nil {
		return err
	}
	if t.DryRun && a.Output == "" {
		a.SaySo(true, "a token is made, valid until %s%s", t.Expires.Std().UTC().Format(time.RFC3339), replacing(t.Replaces))
		return nil
	}
	if a.Output == "" {
		_, err = fmt.Fprintln(a.Stdout, t.Token)
		return err
	}
	return a.PrintOne(t)
}

// replacing says whom the use of a token removes.
func replacing(node string) string {
	if node == "" {
		return ""
	}
	return "; its use removes the node " + console.Printable(node)
}

func (a *app) clusterReplace() *cobra.Command {
	var ttl string
	cmd := &cobra.Command{
		Use:   "replace NODE",
		Short: "Make a token whose use removes a node and lets another in, under the same name and address if it likes",
		Args:  cobra.ExactArgs(1),
	}
	dry := dryRun(cmd)
	cmd.Flags().StringVar(&ttl, "ttl", "15m", "how long the token is valid, at most 24h")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.printToken(a.Client().ReplaceNode(cmd.Context(), args[0], ttl, client.Run(*dry)))
	}
	return cmd
}

func (a *app) clusterTransfer() *cobra.Command {
	var to string
	cmd := &cobra.Command{Use: "transfer [NODE]", Short: "Hand the leadership to another node", Args: cobra.MaximumNArgs(1)}
	dry := dryRun(cmd)
	cmd.Flags().StringVar(&to, "to", "", "id or name of the node (default: any other voter)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			to = args[0]
		}
		if _, err := a.Client().TransferTo(cmd.Context(), to, client.Run(*dry)); err != nil {
			return err
		}
		a.SaySo(*dry, "%s leads", cmp.Or(console.Printable(to), "another voter"))
		return nil
	}
	return cmd
}
