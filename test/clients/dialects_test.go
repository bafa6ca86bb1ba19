//go:build e2e

package clients

import (
	"os"
	"os/exec"
	"testing"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestDialects_Python runs dialects_sdk.py, unchanged clients of four vendors, against each node.
func TestDialects_Python(t *testing.T) {
	python := os.Getenv("CONCLAVE_PYTHON")
	if python == "" {
		t.Fatal("CONCLAVE_PYTHON names no interpreter with the clients' packages; run make e2e")
	}
	c := cluster.Start(t, 3)
	_, secret := c.NewKey(0, map[string]any{"models": []string{"demo", "missing"}})
	_, poor := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 0, "per": "day"}}})
	for _, n := range c.Nodes {
		t.Run(n.Name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), python, "dialects_sdk.py", n.URL)
			cmd.Env = append(os.Environ(), "KEY="+secret, "POOR_KEY="+poor)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
