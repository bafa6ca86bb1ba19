//go:build e2e

package clients

import (
	"net/http"
	"os"
	"os/exec"
	"testing"

	"github.com/conclave-llm/conclave/test/cluster"
)

// litellm is an interpreter with LiteLLM's package.
func litellm(t *testing.T) (python string) {
	t.Helper()
	python = os.Getenv("CONCLAVE_LITELLM_PYTHON")
	if python == "" {
		t.Fatal("CONCLAVE_LITELLM_PYTHON names no interpreter with the litellm package; run make e2e")
	}
	return python
}

// TestLiteLLM_Python runs litellm_client.py: LiteLLM's own management client, unchanged,
// makes, reads, changes and deletes what it knows, on the first node and on a follower.
func TestLiteLLM_Python(t *testing.T) {
	python := litellm(t)
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

// TestLiteLLM_Completion runs litellm_completion.py: LiteLLM's client of models, unchanged, takes a node for a vendor of each
// kind that it knows.
func TestLiteLLM_Completion(t *testing.T) {
	python := litellm(t)
	c := cluster.Start(t, 1)
	if status := c.Admin(0, http.MethodPost, "/model/new", map[string]any{"model_name": "ranks", "litellm_params": map[string]any{
		"model": "cohere/demo", "api_base": c.MockURL() + "/v2", "api_key": "sk-upstream",
	}}, nil); status != http.StatusOK {
		t.Fatalf("model: got %d", status)
	}
	_, secret := c.NewKey(0, map[string]any{})
	_, poor := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 0, "per": "day"}}})
	cmd := exec.CommandContext(t.Context(), python, "litellm_completion.py", c.Nodes[0].URL)
	cmd.Env = append(os.Environ(), "KEY="+secret, "POOR_KEY="+poor)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
