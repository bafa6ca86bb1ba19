//go:build e2e

package clients

import (
	"os"
	"os/exec"
	"testing"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestFrameworks_Python runs frameworks.py: LangChain and the MCP SDK, unchanged, against a node and a
// follower.
func TestFrameworks_Python(t *testing.T) {
	python := os.Getenv("CONCLAVE_FRAMEWORKS_PYTHON")
	if python == "" {
		t.Fatal("CONCLAVE_FRAMEWORKS_PYTHON names no interpreter with the frameworks' packages; run make e2e")
	}
	c := cluster.Start(t, 3)
	_, secret := c.NewKey(0, map[string]any{"models": []string{"demo"}})
	for _, n := range c.Nodes[:2] {
		t.Run(n.Name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), python, "frameworks.py", n.URL)
			cmd.Env = append(os.Environ(), "KEY="+secret, "MASTER_KEY="+cluster.MasterKey)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
