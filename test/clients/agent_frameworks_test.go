//go:build e2e

package clients

import (
	"net/http"
	"os"
	"os/exec"
	"testing"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestAgentFrameworks_Python runs agent_frameworks.py: instructor, OpenAI's Agents SDK, Pydantic AI and
// LlamaIndex, unchanged, against a follower.
func TestAgentFrameworks_Python(t *testing.T) {
	runAgainst(t, "agent_frameworks.py", 3)
}

// TestSpecs_Python runs specs.py: answers against the vendors' own descriptions of their interfaces. Beside demo, whose
// provider speaks as OpenAI does, it asks models whose providers speak as Anthropic and Google do, and of each kind one that
// refuses.
func TestSpecs_Python(t *testing.T) {
	c := cluster.Start(t, 1)
	refusing := c.Upstream("--refuse")
	for name, params := range map[string]map[string]any{
		"claude":         {"model": "anthropic/demo", "api_base": c.MockURL()},
		"gemini":         {"model": "gemini/demo", "api_base": c.MockURL() + "/v1beta"},
		"refuses":        {"model": "openai/demo", "api_base": refusing + "/v1"},
		"claude-refuses": {"model": "anthropic/demo", "api_base": refusing},
		"gemini-refuses": {"model": "gemini/demo", "api_base": refusing + "/v1beta"},
	} {
		params["api_key"] = "sk-upstream"
		if status := c.Admin(0, http.MethodPost, "/model/new", map[string]any{"model_name": name, "litellm_params": params}, nil); status != http.StatusOK {
			t.Fatalf("model %s: got %d", name, status)
		}
	}
	_, secret := c.NewKey(0, map[string]any{})
	runProgram(t, "specs.py", c.Nodes[0].URL, secret)
}

// runAgainst runs a program of the agents' environment against the last of some nodes.
func runAgainst(t *testing.T, program string, nodes int) {
	t.Helper()
	c := cluster.Start(t, nodes)
	_, secret := c.NewKey(0, map[string]any{"models": []string{"demo"}})
	runProgram(t, program, c.Nodes[nodes-1].URL, secret)
}

// runProgram runs a program of the agents' environment against a node.
func runProgram(t *testing.T, program, url, secret string) {
	t.Helper()
	python := os.Getenv("CONCLAVE_AGENTS_PYTHON")
	if python == "" {
		t.Fatal("CONCLAVE_AGENTS_PYTHON names no interpreter with the packages of agents; run make e2e")
	}
	cmd := exec.CommandContext(t.Context(), python, program, url)
	cmd.Env = append(os.Environ(), "KEY="+secret)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
