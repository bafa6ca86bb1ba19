//go:build e2e

package clients

import (
	"os"
	"os/exec"
	"testing"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestLiteLLM_Python runs litellm_client.py: LiteLLM's own management client, unchanged,
// makes, reads, changes and deletes what it knows, on the first node and on a follower.
func TestLiteLLM_Python(t *testing.T) {
	python := os.Getenv("CONCLAVE_LITELLM_PYTHON")
	if python == "" {
		t.Fatal("CONCLAVE_LITELLM_PYTHON names no interpreter with the litellm package; run make e2e")
	}
	c := cluster.Start(t, 3)
	for _, n := range c.Nodes[:2] {
		t.Run(n.Name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), python, "litellm_client.py", n.URL)
			cmd.Env = append(os.Environ(), "MASTER_KEY="+cluster.MasterKey, "MOCK_URL="+c.MockURL())
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
