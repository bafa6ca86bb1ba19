package cli

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// secretSourceVerbs are what is done with secret sources as they run.
func (a *app) secretSourceVerbs() []*cobra.Command {
	return []*cobra.Command{{
		Use: "test REFERENCE", Short: "Resolve a reference such as vault://mount/path#field on every node, and show the fingerprints", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.testSecret(cmd, args[0]) },
	}}
}

func (a *app) testSecret(cmd *cobra.Command, reference string) error {
	all, err := a.client().TestSecret(cmd.Context(), reference)
	if err != nil {
		return err
	}
	table, err := a.tables()
	if err != nil {
		return err
	}
	failed := false
	for _, t := range all.Items {
		failed = failed || !t.OK
	}
	if !table {
		err = a.printJSON(all)
	} else {
		w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "NODE\tOK\tFINGERPRINT\tVERSION\tREASON\tERROR")
		for _, t := range all.Items {
			fmt.Fprintf(w, "%s\t%t\t%s\t%s\t%s\t%s\n", printable(t.Node), t.OK, t.Fingerprint, printable(t.Version), printable(t.Reason), printable(t.Error))
		}
		err = w.Flush()
	}
	if err == nil && failed {
		err = errors.New("the reference is not resolved on every node")
	}
	return err
}
