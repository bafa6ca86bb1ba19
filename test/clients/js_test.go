//go:build e2e

package clients

import (
	"os"
	"os/exec"
	"testing"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestClients_JavaScript runs js/sdks.mjs: unchanged clients of OpenAI, Anthropic, Google and Vercel's AI
// SDK, against each node.
func TestClients_JavaScript(t *testing.T) {
	program := os.Getenv("CONCLAVE_NODE")
	if program == "" {
		t.Fatal("CONCLAVE_NODE names no Node for which js/node_modules was installed; run make e2e")
	}
	c := cluster.Start(t, 3)
	_, secret := c.NewKey(0, map[string]any{"models": []string{"demo", "missing"}})
	_, poor := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 0, "per": "day"}}})
	for _, n := range c.Nodes {
		t.Run(n.Name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), program, "js/sdks.mjs", n.URL)
			cmd.Env = append(os.Environ(), "KEY="+secret, "POOR_KEY="+poor)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
