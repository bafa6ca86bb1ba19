//go:build e2e

package clients

import (
	"os"
	"os/exec"
	"testing"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestDecisions_Python runs decisions_sdk.py, unchanged clients of OpenAI's and TypeSafe's decisions,
// against each node.
func TestDecisions_Python(t *testing.T) {
	python := os.Getenv("CONCLAVE_DECISIONS_PYTHON")
	if python == "" {
		t.Fatal("CONCLAVE_DECISIONS_PYTHON names no interpreter with the openai and typesafe-sdk packages; run make e2e")
	}
	c := cluster.Start(t, 3)
	_, secret := c.NewKey(0, map[string]any{"models": []string{"demo", "nobody"}})
	_, poor := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 0, "per": "day"}}})
	for _, n := range c.Nodes {
		t.Run(n.Name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), python, "decisions_sdk.py", n.URL)
			cmd.Env = append(os.Environ(), "KEY="+secret, "POOR_KEY="+poor)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
