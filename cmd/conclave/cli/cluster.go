package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) clusterCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "cluster", Short: "The nodes of the cluster", Args: cobra.NoArgs}
	cmd.AddCommand(a.clusterStatus(), a.clusterJoinToken(), a.clusterTransfer(), a.clusterRemove())
	return cmd
}

func (a *app) clusterStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show members, leader and lag",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client().Cluster(cmd.Context())
			if err != nil {
				return err
			}
			if table, _ := a.tables(); table {
				fmt.Fprintf(a.stdout, "cluster %s  generation %d  applied %d\n\n", c.ID, c.Generation, c.Applied)
			}
			return a.printList(c, looseAll(c.Members), []column{
				{"ID", "id"},
				{"NAME", "name"},
				{"ADDRESS", "address"},
				{"VOTER", "voter"},
				{"LEADER", "leader"},
				{"APPLIED", "applied"},
				{"LAG", "lag"},
				{"LAST TICK", "last_tick"},
			})
		},
	}
}

func (a *app) clusterJoinToken() *cobra.Command {
	var ttl string
	cmd := &cobra.Command{
		Use:   "join-token",
		Short: "Make a token for one node to join with",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := a.client().JoinToken(cmd.Context(), ttl)
			if err != nil {
				return err
			}
			if a.output == "" {
				_, err = fmt.Fprintln(a.stdout, t.Token)
				return err
			}
			return a.printOne(t)
		},
	}
	cmd.Flags().StringVar(&ttl, "ttl", "15m", "how long it is valid, at most 24h")
	return cmd
}

func (a *app) clusterTransfer() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "transfer",
		Short: "Hand the leadership to another node",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.client().Transfer(cmd.Context(), to)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "id or name of the node (default: any other voter)")
	return cmd
}

func (a *app) clusterRemove() *cobra.Command {
	return &cobra.Command{
		Use:   "remove NODE",
		Short: "Remove a node for ever; it joins again only with an empty folder",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.client().Remove(cmd.Context(), args[0]); err != nil {
				return err
			}
			fmt.Fprintf(a.stderr, "removed node %s\n", printable(args[0]))
			return nil
		},
	}
}
