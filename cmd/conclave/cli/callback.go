package cli

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
)

// callbackVerbs are what is done with callbacks as they run.
func (a *app) callbackVerbs() []*cobra.Command {
	dead := &cobra.Command{Use: "dead-letters", Short: "Records that a callback's sink refused for good"}
	dead.AddCommand(a.deadList(), a.deadDo("retry", "Bring dead letters to the sink again", (*client.Client).RetryDeadLetters),
		a.deadDo("discard", "Forget dead letters", (*client.Client).DiscardDeadLetters))
	return []*cobra.Command{a.callbackState(), a.callbackTest(), a.callbackRedeliver(), dead}
}

func (a *app) callbackState() *cobra.Command {
	return &cobra.Command{
		Use: "state NAME", Short: "Show how a callback runs on each node", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := a.Client().CallbackStates(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			table, err := a.Tables()
			if err != nil {
				return err
			}
			if !table {
				return a.PrintJSON(all)
			}
			w := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NODE\tSTATE\tBEHIND\tDEAD LETTERS\tRESTARTS\tERROR")
			for _, s := range all.Items {
				behind := int64(s.Last) - int64(s.Mark) + 1
				fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\n", console.Printable(s.Node), s.State, max(0, behind), s.Dead, s.Restarts, console.Printable(s.Error))
			}
			return w.Flush()
		},
	}
}

func (a *app) callbackTest() *cobra.Command {
	return &cobra.Command{
		Use: "test NAME", Short: "Send a test event through a callback, from the node that answers", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			said, err := a.Client().TestCallback(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if !said.OK {
				return fmt.Errorf("callback %s on %s: %s", said.Callback, said.Node, console.Printable(said.Error))
			}
			return a.PrintOne(said)
		},
	}
}

func (a *app) callbackRedeliver() *cobra.Command {
	var since string
	cmd := &cobra.Command{
		Use: "redeliver NAME --since 36h", Short: "Tell a callback again of the requests since a time, on every node",
		Long: "Tell a callback again of the requests that began at a time or later, on every node, as far back as the nodes' journals go " +
			"(seven days, unless a node is told otherwise). What the sink has already comes again under the same node and position.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.Client().Redeliver(cmd.Context(), args[0], client.RedeliverFrom{From: since})
			if err != nil {
				return err
			}
			return a.PrintOne(c)
		},
	}
	cmd.Flags().StringVar(&since, "since", "", "a time in RFC 3339, or how long ago: 36h, 7d")
	_ = cmd.MarkFlagRequired("since")
	return cmd
}

func (a *app) deadList() *cobra.Command {
	return &cobra.Command{
		Use: "list NAME", Short: "List the dead letters of a callback, of all nodes", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := a.Client().DeadLetters(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			table, err := a.Tables()
			if err != nil {
				return err
			}
			if !table {
				return a.PrintJSON(all)
			}
			w := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NODE\tPOSITION\tREQUEST\tAT\tREASON")
			for _, l := range all.Items {
				fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", console.Printable(l.Node), l.Position, console.Printable(l.RequestID), l.At.Format(time.RFC3339), console.Printable(l.Reason))
			}
			for _, e := range all.Errors {
				fmt.Fprintf(w, "%s\n", console.Printable(e))
			}
			return w.Flush()
		},
	}
}

// deadDo is a verb that does something with dead letters.
func (a *app) deadDo(verb, short string, do doDeadLetters) *cobra.Command {
	var chosen client.DeadLettersChosen
	var positions []int64
	cmd := &cobra.Command{
		Use: verb + " NAME", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, p := range positions {
				chosen.Positions = append(chosen.Positions, uint64(max(0, p)))
			}
			done, err := do(a.Client(), cmd.Context(), args[0], chosen)
			if err != nil {
				return err
			}
			return a.PrintOne(done)
		},
	}
	cmd.Flags().StringVar(&chosen.Node, "node", "", "name or id of a node (default: all)")
	cmd.Flags().Int64SliceVar(&positions, "position", nil, "of a dead letter (default: all)")
	return cmd
}

type doDeadLetters func(c *client.Client, ctx context.Context, ref string, chosen client.DeadLettersChosen) (client.DeadLettersDone, error)
