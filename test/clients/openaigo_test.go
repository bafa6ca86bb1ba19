//go:build e2e

package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestOpenAI_Go runs the program in openaigo, OpenAI's own client for Go, against each node. It is a module
// of its own, so that the client is no dependency of the gateway.
func TestOpenAI_Go(t *testing.T) {
	program := filepath.Join(t.TempDir(), "openaigo")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-C", "openaigo", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c := cluster.Start(t, 3)
	_, secret := c.NewKey(0, map[string]any{"models": []string{"demo", "missing"}})
	_, poor := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 0, "per": "day"}}})
	for _, n := range c.Nodes {
		t.Run(n.Name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), program, n.URL)
			cmd.Env = append(os.Environ(), "KEY="+secret, "POOR_KEY="+poor)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
