//go:build e2e

package clients

import (
	"os"
	"os/exec"
	"testing"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestRealtime_Python runs realtime_sdk.py, an unchanged OpenAI client with its WebSockets, against
// each node.
func TestRealtime_Python(t *testing.T) {
	python := os.Getenv("CONCLAVE_PYTHON")
	if python == "" {
		t.Fatal("CONCLAVE_PYTHON names no interpreter with the openai package; run make e2e")
	}
	c := cluster.Start(t, 3)
	_, secret := c.NewKey(0, map[string]any{"models": []string{"demo"}})
	_, poor := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 0, "per": "day"}}})
	for _, n := range c.Nodes {
		t.Run(n.Name, func(t *testing.T) {
			_, short := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 0.1, "per": "day"}}})
			cmd := exec.CommandContext(t.Context(), python, "realtime_sdk.py", n.URL+"/v1")
			cmd.Env = append(os.Environ(), "KEY="+secret, "POOR_KEY="+poor, "SHORT_KEY="+short)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
