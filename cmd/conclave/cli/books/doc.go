// Package books is the verbs that read what was done and what it cost: usage, the ledger, prices, decisions,
// the audit log and alerts.
package books

import (
	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
)

// Commands are the verbs of this package.
func Commands(c *console.Console) []*cobra.Command {
	a := &app{c}
	return []*cobra.Command{a.usageCommand(), a.explainCommand(), a.ledgerCommand(), a.auditCommand(), a.alertCommand(), a.priceCommand()}
}

type app struct{ *console.Console }
