package cluster

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
)

func (a *app) egressCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "egress", Short: "What the nodes dial", Args: cobra.NoArgs}
	cmd.AddCommand(a.egressReport())
	return cmd
}

// egressRow is one address of one node.
type egressRow struct {
	Node    string `json:"node"`
	Address string `json:"address"`
	Named   string `json:"named_by"`
	Via     string `json:"via"`
	Opened  int64  `json:"opened"`
	Failed  int64  `json:"failed"`
	Refused int64  `json:"refused"`
}

func (a *app) egressReport() *cobra.Command {
	return &cobra.Command{
		Use:   "report",
		Short: "Show what each node may dial, who names it, and what was dialled and refused since it started",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			e, err := a.Client().Egress(cmd.Context())
			if err != nil {
				return err
			}
			var rows []egressRow
			silent := 0
			for _, n := range e.Nodes {
				if n.Report == nil {
					silent++
					fmt.Fprintf(a.Stderr, "node %s did not answer: %s\n", console.Printable(n.Node), console.Printable(n.Error))
					continue
				}
				rows = append(rows, egressRows(n.Node, n.Report)...)
			}
			if err := a.PrintList(e, console.LooseAll(rows), []console.Column{
				{"NODE", "node"},
				{"ADDRESS", "address"},
				{"NAMED BY", "named_by"},
				{"VIA", "via"},
				{"OPENED", "opened"},
				{"FAILED", "failed"},
				{"REFUSED", "refused"},
			}); err != nil {
				return err
			}
			if silent > 0 {
				return fmt.Errorf("%d of %d nodes did not answer: the report is not whole", silent, len(e.Nodes))
			}
			return nil
		},
	}
}

// egressRows are what the node may dial, then what it dialled that nobody names.
func egressRows(node string, r *client.EgressReport) (rows []egressRow) {
	seen := map[string]client.EgressSeen{}
	for _, s := range r.Seen {
		seen[s.Address] = s
	}
	row := func(address, by string) {
		s := seen[address]
		delete(seen, address)
		rows = append(rows, egressRow{node, address, by, s.Via, s.Opened, s.Failed, s.Refused})
	}
	for _, d := range r.Allowed {
		by := strings.Join(d.By, ", ")
		if d.Insecure {
			by += " (certificate not verified)"
		}
		row(d.Address, by)
	}
	for _, s := range r.Seen {
		if _, left := seen[s.Address]; left {
			by := "-"
			if s.Peer {
				by = "cluster"
			}
			row(s.Address, by)
		}
	}
	return rows
}
