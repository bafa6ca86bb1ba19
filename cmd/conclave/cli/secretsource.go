package cli

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
)

// secretSourceVerbs are what is done with secret sources as they run.
func (a *app) secretSourceVerbs() []*cobra.Command {
	return []*cobra.Command{{
		Use: "test REFERENCE", Short: "Resolve a reference such as vault://mount/path#field on every node, and show the fingerprints", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.testSecret(cmd, args[0]) },
	}}
}

func (a *app) testSecret(cmd *cobra.Command, reference string) error {
	all, err := a.Client().TestSecret(cmd.Context(), reference)
	if err != nil {
		return err
	}
	table, err := a.Tables()
	if err != nil {
		return err
	}
	failed := false
	for _, t := range all.Items {
		failed = failed || !t.OK
	}
	if !table {
		err = a.PrintJSON(all)
	} else {
		w := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "NODE\tOK\tFINGERPRINT\tVERSION\tREASON\tERROR")
		for _, t := range all.Items {
			fmt.Fprintf(w, "%s\t%t\t%s\t%s\t%s\t%s\n", console.Printable(t.Node), t.OK, t.Fingerprint, console.Printable(t.Version), console.Printable(t.Reason), console.Printable(t.Error))
		}
		err = w.Flush()
	}
	if err == nil && failed {
		err = errors.New("the reference is not resolved on every node")
	}
	return err
}
