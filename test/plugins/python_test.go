//go:build e2e

package plugins

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/plugins/sdk/plugintest"
	"github.com/conclave-llm/conclave/test/cluster"
)

const example = "../../docs/examples/guardrail-python"

// interpreter is a Python with grpcio.
func interpreter(t *testing.T) string {
	t.Helper()
	python := os.Getenv("CONCLAVE_PLUGIN_PYTHON")
	if python == "" {
		t.Fatal("CONCLAVE_PLUGIN_PYTHON names no interpreter with test/plugins/requirements.txt; run make e2e")
	}
	return python
}

func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// buildPython makes of the example what its README says, in a copy, and returns the folder.
func buildPython(t *testing.T) string {
	t.Helper()
	dir, python := t.TempDir(), interpreter(t)
	if err := os.CopyFS(dir, os.DirFS(example)); err != nil {
		t.Fatal(err)
	}
	proto, err := filepath.Abs("../../plugins/proto")
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"build", "dist"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	command(t, dir, python, "-m", "grpc_tools.protoc", "-I", proto, "--python_out=build", "--grpc_python_out=build", "guardrail.proto")
	if err := os.Rename(filepath.Join(dir, "plugin.py"), filepath.Join(dir, "build", "__main__.py")); err != nil {
		t.Fatal(err)
	}
	command(t, dir, python, "-m", "zipapp", "build", "-p", python, "-o", "dist/plugin.pyz")
	return dir
}

// TestPython_Conformance puts the plugin in Python through the kit that plugins in Go pass.
func TestPython_Conformance(t *testing.T) {
	path := filepath.Join(buildPython(t), "dist", "plugin.pyz")
	plugintest.GuardrailProgram(t, plugintest.Program{Path: path, NoMTLS: true}, plugintest.GuardrailCase{
		Config: []byte(`{"words":["forbidden fruit"]}`),
		Bad:    [][]byte{[]byte(`{}`), []byte(`{"words":[""]}`), []byte(`{"words":7}`), []byte(`{"wrods":["x"]}`), []byte(`[]`)},
		Passes: "an apple a day",
		Stops:  "there hangs a forbidden fruit",
		Word:   "forbidden fruit",
	})
}

// TestPython_Uploaded packs, signs and uploads the plugin with the program's own commands, and
// has it judge requests on two nodes.
func TestPython_Uploaded(t *testing.T) {
	dir := buildPython(t)
	c := cluster.Start(t, 2)
	conclave, err := filepath.Abs(os.Getenv("CONCLAVE_BIN"))
	if err != nil {
		t.Fatal(err)
	}
	admin := func(args ...string) string {
		return command(t, dir, conclave, append(args, "--server", c.Nodes[0].URL, "--key", cluster.MasterKey, "-o", "json")...)
	}
	admin("plugin", "keygen", "publisher.key")
	public, err := os.ReadFile(filepath.Join(dir, "publisher.key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := json.Marshal(map[string]any{"value": map[string]any{"publishers": []string{strings.TrimSpace(string(public))}, "require_signature": true}})
	if err != nil {
		t.Fatal(err)
	}
	if status, text := cluster.CallRaw(t, http.MethodPut, c.Nodes[0].URL+"/api/v1/settings/plugin_trust", cluster.MasterKey, json.RawMessage(trust)); status >= 300 {
		t.Fatalf("set plugin_trust: %d %s", status, text)
	}
	admin("plugin", "pack", ".", "--sign-with", "publisher.key", "--out", "bundle.cpb")
	admin("plugin", "upload", "bundle.cpb")
	admin("guardrail", "create", "words", "--plugin", "example-guardrail-python", "--config", `{"words":["forbidden"]}`)
	_, secret := c.NewKey(0, map[string]any{})
	bad := cluster.ChatBody()
	bad["messages"] = []map[string]string{{"role": "user", "content": "a forbidden word"}}
	for i, n := range c.Nodes {
		c.Await("the guardrail refuses on node "+n.Name, 20*time.Second, func() bool {
			status, _ := cluster.CallRaw(t, http.MethodPost, n.URL+"/v1/chat/completions", secret, bad)
			return status == http.StatusBadRequest
		})
		if got := c.Chat(i, secret); got != http.StatusOK {
			t.Errorf("node %s: a clean prompt: %d", n.Name, got)
		}
	}
	if out := admin("plugin", "status", "words"); strings.Count(out, `"state": "running"`) != 2 {
		t.Errorf("status: %s", out)
	}
}
