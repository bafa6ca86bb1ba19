//go:build e2e

package plugins

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/plugins/sdk/plugintest"
	"github.com/conclave-llm/conclave/test/cluster"
)

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

// buildPython makes of the example for a kind what its README says, in a copy, and returns the folder.
func buildPython(t *testing.T, kind string) string {
	t.Helper()
	dir, python := t.TempDir(), interpreter(t)
	if err := os.CopyFS(dir, os.DirFS("../../docs/examples/"+kind+"-python")); err != nil {
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
	command(t, dir, python, "-m", "grpc_tools.protoc", "-I", proto, "--python_out=build", "--grpc_python_out=build", kind+".proto")
	if err := os.Rename(filepath.Join(dir, "plugin.py"), filepath.Join(dir, "build", "__main__.py")); err != nil {
		t.Fatal(err)
	}
	command(t, dir, python, "-m", "zipapp", "build", "-p", python, "-o", "dist/plugin.pyz")
	return dir
}

// upload packs what is in the folder, signs it with a key of its own that the cluster trusts alone, and uploads it to the
// first node, with the program's own commands. It returns what calls that node.
func upload(t *testing.T, c *cluster.Cluster, dir string) (admin func(args ...string) string) {
	t.Helper()
	conclave, err := filepath.Abs(os.Getenv("CONCLAVE_BIN"))
	if err != nil {
		t.Fatal(err)
	}
	admin = func(args ...string) string {
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
	return admin
}

// TestPython_Conformance puts the plugin in Python through the kit that plugins in Go pass.
func TestPython_Conformance(t *testing.T) {
	path := filepath.Join(buildPython(t, "guardrail"), "dist", "plugin.pyz")
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
	c := cluster.Start(t, 2)
	admin := upload(t, c, buildPython(t, "guardrail"))
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

// TestPython_ProviderConformance puts the provider in Python through the kit that those in Go pass.
func TestPython_ProviderConformance(t *testing.T) {
	path := filepath.Join(buildPython(t, "provider"), "dist", "plugin.pyz")
	plugintest.ProviderProgram(t, plugintest.Program{Path: path, NoMTLS: true}, plugintest.ProviderCase{
		Config: []byte(`{"greeting":"Hear:"}`),
		Bad:    [][]byte{[]byte(`{"greeting":7}`), []byte(`{"greating":"Hear:"}`), []byte(`[]`)},
		Model:  "shout-1",
		Prompt: "not so loud",
		Says:   "Hear: NOT SO LOUD",
		Input:  "a word",
	})
}

// TestPython_ProviderUploaded uploads a signed bundle of the provider in Python to one node. Its models are discovered, and
// both nodes answer with it, whole and streamed, and charge what it says.
func TestPython_ProviderUploaded(t *testing.T) {
	c := cluster.Start(t, 2)
	admin := upload(t, c, buildPython(t, "provider"))
	const plugin = "plugin/example-provider-python"
	if out := admin("provider", "discover", plugin, "--prefix", "", "--apply"); !strings.Contains(out, `"made": 1`) || !strings.Contains(out, `"shout-1"`) {
		t.Fatalf("discover: %s", out)
	}
	_, secret := c.NewKey(0, map[string]any{})
	body := map[string]any{"model": "shout-1", "messages": []map[string]string{{"role": "user", "content": "not so loud"}}}
	for _, n := range c.Nodes {
		var text string
		c.Await("the provider answers on node "+n.Name, 20*time.Second, func() bool {
			body["stream"] = false
			status, answer := cluster.CallRaw(t, http.MethodPost, n.URL+"/v1/chat/completions", secret, body)
			text = string(answer)
			return status == http.StatusOK
		})
		if !strings.Contains(text, "NOT SO LOUD") || !strings.Contains(text, `"total_tokens": 6`) {
			t.Errorf("node %s: %s", n.Name, text)
		}
		body["stream"] = true
		if status, text := cluster.CallRaw(t, http.MethodPost, n.URL+"/v1/chat/completions", secret, body); status != http.StatusOK || !strings.Contains(string(text), `" SO"`) || !strings.Contains(string(text), "[DONE]") {
			t.Errorf("node %s, a stream: %d %s", n.Name, status, text)
		}
		if status, text := cluster.CallRaw(t, http.MethodPost, n.URL+"/v1/embeddings", secret, map[string]any{"model": "shout-1", "input": []string{"abba"}}); status != http.StatusOK || !strings.Contains(string(text), `"embedding"`) {
			t.Errorf("node %s, embeddings: %d %s", n.Name, status, text)
		}
	}
	var page struct {
		Items []struct {
			Processes []struct {
				State     string
				Version   string
				Models    []string
				Endpoints []string
			}
		}
	}
	out := admin("plugin", "status", "example-provider-python")
	if err := json.Unmarshal([]byte(out), &page); err != nil || len(page.Items) != len(c.Nodes) {
		t.Fatalf("status: %v %s", err, out)
	}
	for _, it := range page.Items {
		if len(it.Processes) != 1 || it.Processes[0].State != "running" || it.Processes[0].Version != "0.1.0" ||
			!slices.Equal(it.Processes[0].Models, []string{"shout-1"}) || !slices.Equal(it.Processes[0].Endpoints, []string{"chat", "embeddings"}) {
			t.Errorf("status: %s", out)
		}
	}
}
