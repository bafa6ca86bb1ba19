//go:build e2e

package counterparts

import (
	"os"
	"os/exec"
	"testing"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestLangChain runs LangChain's standard test suites, langchain_suites.py, through a node: its clients for OpenAI,
// Anthropic and Google, each with aimock as the provider in each of five dialects.
func TestLangChain(t *testing.T) {
	python := os.Getenv("CONCLAVE_FRAMEWORKS_PYTHON")
	if python == "" {
		t.Fatal("CONCLAVE_FRAMEWORKS_PYTHON names no interpreter with langchain-tests; run make e2e")
	}
	upstream := dialects(aimock(t))
	c := cluster.Start(t, 1)
	for _, dialect := range []string{"openai", "chat", "anthropic", "gemini", "bedrock"} {
		serves(t, c, dialect, upstream[dialect])
		serves(t, c, dialect+"-2", upstream[dialect])
	}
	_, key := c.NewKey(0, map[string]any{})
	cmd := exec.CommandContext(t.Context(), python, "langchain_suites.py")
	cmd.Env = append(os.Environ(), "NODE="+c.Nodes[0].URL, "KEY="+key)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Error(err)
	}
	t.Logf("%s", out)
}
