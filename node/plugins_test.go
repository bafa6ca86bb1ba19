package node_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/plugins/pack"
	"github.com/conclave-llm/conclave/resource/manifest"
	"github.com/conclave-llm/conclave/signing"
)

// packed is a bundle of a guardrail: a script that runs the shipped keywords in this test's
// binary. What differs between versions is a comment.
func packed(t *testing.T, version, os1, arch string, key *signing.SecretKey) []byte {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\n# %s\nexec %q plugin serve keywords\n", version, exe)
	b, err := pack.New(manifest.Manifest{
		Name: "mine", Version: version, Kind: "guardrail", Schema: json.RawMessage(`{"type":"object","required":["words"]}`),
	}, []pack.Binary{{OS: os1, Arch: arch, Body: []byte(script)}}, key)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := b.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// running returns the processes of the guardrail by node, if every node has answered.
func running(t *testing.T, n *nodetest.Node, name string) map[string][]client.PluginProcess {
	t.Helper()
	page, err := n.Admin().PluginProcesses(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]client.PluginProcess{}
	for _, it := range page.Items {
		all[it.Node] = it.Processes
	}
	return all
}

// TestPlugins_Uploaded takes a plugin through its life: refused from a stranger, uploaded to one
// node and run by all, in two processes each, replaced by a newer version without a gap, and by one
// that has no binary for these nodes.
func TestPlugins_Uploaded(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("runs a script")
	}
	c := nodetest.Start(t, 3)
	mine, err := signing.Generate()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := signing.Generate()
	if err != nil {
		t.Fatal(err)
	}
	api := c.Nodes[0].Admin()
	trust := nodetest.Fields{"value": nodetest.Fields{"publishers": []string{mine.Public().String()}, "require_signature": true}}
	if status, body := c.Nodes[0].Do("PUT", "/api/v1/settings/plugin_trust", nodetest.MasterKey, trust); status >= 300 {
		t.Fatalf("set plugin_trust: %d %s", status, body)
	}
	for _, key := range []*signing.SecretKey{nil, &stranger} {
		_, err := api.UploadPlugin(t.Context(), packed(t, "1.0", "any", "any", key))
		if err == nil || key != nil && !strings.Contains(err.Error(), key.Public().Fingerprint()) {
			t.Errorf("a bundle signed by %v: %v, want a refusal with the fingerprint", key, err)
		}
	}
	path := nodetest.Fields{"name": "other", "kind": "guardrail", "path": "/bin/true", "sha256": strings.Repeat("a", 64)}
	if status, _ := c.Nodes[0].Do("POST", "/api/v1/plugins", nodetest.MasterKey, path); status != http.StatusBadRequest {
		t.Errorf("a path without a signature: status %d, want 400", status)
	}
	p, err := api.UploadPlugin(t.Context(), packed(t, "1.0", "any", "any", &mine))
	if err != nil || p.Publisher != mine.Public().Fingerprint() || !slices.Equal(p.Platforms, []string{"any/any"}) {
		t.Fatalf("upload: %+v, %v", p, err)
	}
	c.Sync(api)
	guard := nodetest.Fields{"name": "words", "plugin": "mine", "instances": 2, "config": nodetest.Fields{}}
	if status, body := c.Nodes[1].Do("POST", "/api/v1/guardrails", nodetest.MasterKey, guard); status != http.StatusBadRequest || !bytes.Contains(body, []byte("schema of mine")) {
		t.Errorf("a configuration that does not fit: %d %s", status, body)
	}
	guard["config"] = nodetest.Fields{"words": []string{"forbidden"}}
	if status, body := c.Nodes[1].Do("POST", "/api/v1/guardrails", nodetest.MasterKey, guard); status != http.StatusCreated {
		t.Fatalf("create guardrail: %d %s", status, body)
	}
	awaitVersion(t, c, "1.0", "running", 2)
	refuses(t, c)

	if _, err := c.Nodes[2].Admin().UploadPlugin(t.Context(), packed(t, "2.0", "any", "any", &mine)); err != nil {
		t.Fatal(err)
	}
	c.Await("every node runs the newer version", func() bool {
		refuses(t, c) // at every moment
		return all(running(t, c.Nodes[0], "words"), func(p client.PluginProcess) bool { return p.Bundle == "2.0" && p.State == "running" && p.PID > 0 })
	})
	if _, err := api.UploadPlugin(t.Context(), packed(t, "3.0", "plan9", "mips", &mine)); err != nil {
		t.Fatal(err)
	}
	awaitVersion(t, c, "3.0", "no_binary_for_platform", 2)
	if status, body := c.Nodes[1].Chat(c.Key(0, nodetest.Fields{"name": "k2"}).Secret); status != http.StatusServiceUnavailable {
		t.Errorf("without a binary: %d %s, want on_error = block", status, body)
	}
}

func awaitVersion(t *testing.T, c *nodetest.Cluster, version, state string, each int) {
	t.Helper()
	c.Await("every node has version "+version+" "+state, func() bool {
		now := running(t, c.Nodes[0], "words")
		ok := len(now) == len(c.Nodes) && all(now, func(p client.PluginProcess) bool { return p.Bundle == version && p.State == state })
		for _, ps := range now {
			ok = ok && len(ps) == each
		}
		return ok
	})
}

func all(now map[string][]client.PluginProcess, ok func(client.PluginProcess) bool) bool {
	for _, ps := range now {
		for _, p := range ps {
			if !ok(p) {
				return false
			}
		}
	}
	return len(now) > 0
}

// refuses sees that each node's guardrail finds the word.
func refuses(t *testing.T, c *nodetest.Cluster) {
	t.Helper()
	for _, n := range c.Nodes {
		said, err := n.Admin().TryGuardrail(t.Context(), "words", client.GuardrailTry{Text: "a forbidden word"})
		if err != nil || said.Status != "blocked" {
			t.Fatalf("node %s: %+v, %v", n.Name, said, err)
		}
	}
}
