// Package cluster is the verbs over the cluster as a whole: its nodes, keys and versions, its backups, its
// bundles, and what it dials.
package cluster

import (
	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
)

// Commands are the verbs of this package.
func Commands(c *console.Console) []*cobra.Command {
	a := &app{c}
	return []*cobra.Command{a.clusterCommand(), a.egressCommand(), a.bundleCommand(), a.snapshotCommand()}
}

type app struct{ *console.Console }
