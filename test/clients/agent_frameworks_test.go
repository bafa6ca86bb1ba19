//go:build e2e

package clients

import (
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

// TestSpecs_Python runs specs.py: answers against the vendors' own descriptions of their interfaces.
func TestSpecs_Python(t *testing.T) {
	runAgainst(t, "specs.py", 1)
}

// runAgainst runs a program of the agents' environment against the last of some nodes.
func runAgainst(t *testing.T, program string, nodes int) {
	t.Helper()
	python := os.Getenv("CONCLAVE_AGENTS_PYTHON")
	if python == "" {
		t.Fatal("CONCLAVE_AGENTS_PYTHON names no interpreter with the packages of agents; run make e2e")
	}
	c := cluster.Start(t, nodes)
	_, secret := c.NewKey(0, map[string]any{"models": []string{"demo"}})
	cmd := exec.CommandContext(t.Context(), python, program, c.Nodes[nodes-1].URL)
	cmd.Env = append(os.Environ(), "KEY="+secret)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
