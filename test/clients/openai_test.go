//go:build e2e

package clients

import (
	"os"
	"os/exec"
	"testing"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestOpenAI_Python runs openai_sdk.py, an unchanged OpenAI client, against each node.
func TestOpenAI_Python(t *testing.T) {
	python := os.Getenv("CONCLAVE_PYTHON")
	if python == "" {
		t.Fatal("CONCLAVE_PYTHON names no interpreter with the openai package; run make e2e")
	}
	c := cluster.Start(t, 3)
	_, secret := c.NewKey(0, map[string]any{"models": []string{"demo", "missing"}})
	limited, one := c.NewKey(0, map[string]any{"models": []string{"demo"}, "limits": map[string]any{"rpm": 0}})
	_, poor := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 0, "per": "day"}}})
	t.Logf("limited key %s", limited)
	for _, n := range c.Nodes {
		t.Run(n.Name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), python, "openai_sdk.py", n.URL+"/v1")
			cmd.Env = append(os.Environ(), "KEY="+secret, "LIMITED_KEY="+one, "POOR_KEY="+poor)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
