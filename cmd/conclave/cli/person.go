package cli

import (
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
	"github.com/conclave-llm/conclave/resource"
)

// personVerbs are what is done about one person, a customer or a user.
func (a *app) personVerbs(kind string) []*cobra.Command {
	return append(a.blockVerbs(kind), a.personExport(kind), a.personErase(kind))
}

func (a *app) personExport(kind string) *cobra.Command {
	var file string
	var partial bool
	cmd := &cobra.Command{
		Use:   "export ID",
		Short: "Write everything that refers to the " + kind + " as JSON lines",
		Long:  "Write everything that refers to the " + kind + ": records, requests on all nodes, kept contents and audit entries. It fails if a node gives no answer.",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{}
			if partial {
				q.Set("partial", "true")
			}
			return a.WriteTo(file, func(w io.Writer) error { return a.Client().ExportPerson(cmd.Context(), kind, args[0], q, w) })
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "file to write (default: standard output)")
	cmd.Flags().BoolVar(&partial, "partial", false, "go on without nodes that give no answer, and name them in the last line")
	return cmd
}

func (a *app) personErase(kind string) *cobra.Command {
	var receipt bool
	cmd := &cobra.Command{
		Use:   "erase ID",
		Short: "Forget the " + kind + " on every node; amounts stay under a pseudonym",
		Long: "Forget the " + kind + " on every node: the record, contents, files and stored turns are deleted, and what was spent stays under a " +
			"random pseudonym. A node that is down forgets before it serves again. With --receipt the ID is that of an erasure, and the command says what became of it.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			call := func() (resource.Erasure, error) { return a.Client().Erase(cmd.Context(), kind, args[0]) }
			if receipt {
				call = func() (resource.Erasure, error) { return a.Client().Erasure(cmd.Context(), args[0]) }
			}
			e, err := call()
			if err != nil {
				return err
			}
			return a.printErasure(&e)
		},
	}
	cmd.Flags().BoolVar(&receipt, "receipt", false, "show what became of the erasure with the ID")
	return cmd
}

// printErasure names the nodes that have not done their part.
func (a *app) printErasure(e *resource.Erasure) error {
	if table, err := a.Tables(); err != nil {
		return err
	} else if !table {
		return a.PrintJSON(e)
	}
	var late []string
	rows, kept := int64(0), int64(0)
	for _, n := range e.Nodes {
		rows, kept = rows+n.Rows, kept+n.Contents
		if n.Stage < resource.ErasureDone {
			name := n.Name
			if n.Gone {
				name += " (removed from the cluster)"
			}
			late = append(late, name)
		}
	}
	fmt.Fprintf(a.Stdout, "erasure %s: %d rows are under the pseudonym %s, %d contents are deleted\n", e.ID, rows, e.Pseudonym, kept)
	if len(late) > 0 {
		fmt.Fprintf(a.Stdout, "not reached: %s\n", console.Printable(strings.Join(late, ", ")))
	}
	return nil
}
