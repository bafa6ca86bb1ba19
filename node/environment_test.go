package node_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/node/nodetest"
)

// TestEnvironment refers to a variable of the cluster from a deployment and from a plugin's
// configuration; every node resolves it, nobody is shown it, and another data key changes nothing.
func TestEnvironment(t *testing.T) {
	c := nodetest.Config{Edit: quick}.Start(t, 3)
	api := c.Nodes[0].Admin()
	if _, err := api.Models().Create(t.Context(), nodetest.Fields{"name": "m", "deployments": []nodetest.Fields{{
		"name": "d", "provider": "openai", "model": "demo", "api_base": c.MockURL, "api_key": "env://UPSTREAM_KEY",
	}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Guardrails().Create(t.Context(), nodetest.Fields{
		"name": "words", "plugin": "keywords", "hooks": []string{"before"}, "config": nodetest.Fields{"words": []string{"os.environ/FORBIDDEN"}},
	}); err != nil {
		t.Fatal(err)
	}
	key := c.Key(0, nodetest.Fields{"name": "k"}).Secret
	ask := func(n *nodetest.Node, text string) int {
		status, _ := n.Do("POST", "/v1/chat/completions", key, nodetest.Fields{"model": "m", "messages": []nodetest.Fields{{"role": "user", "content": text}}})
		return status
	}
	set := func(name, value string) client.Variable {
		t.Helper()
		v, err := api.Environment().Replace(t.Context(), name, nodetest.Fields{"value": value})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if status := ask(c.Nodes[1], "hello"); status == 200 {
		t.Error("a request was sent though its key's variable is not there")
	}
	made := set("UPSTREAM_KEY", "sk-planted-upstream-key")
	if made.Value.Fingerprint == "" || made.UpdatedBy == "" || made.Overridden {
		t.Errorf("got %+v, want a fingerprint and who wrote it", made)
	}
	set("FORBIDDEN", "xyzzy")
	if _, err := api.Environment().Replace(t.Context(), "CONCLAVE_MASTER_KEY", nodetest.Fields{"value": "x"}); err == nil {
		t.Error("a name that is the node's own was taken")
	}
	for _, n := range c.Nodes {
		c.Await("the variables on "+n.Name, func() bool { return ask(n, "hello") == 200 && ask(n, "say xyzzy") == 400 })
	}
	rotate(t, c, c.Nodes[1], "dek", "done")
	if status, body := c.Nodes[2].Do("GET", "/api/v1/environment", nodetest.MasterKey, nil); status != 200 ||
		!bytes.Contains(body, []byte(made.Value.Fingerprint)) || bytes.Contains(body, []byte("planted")) {
		t.Errorf("got %d %s, want the fingerprints that were", status, body)
	}
	t.Setenv("FORBIDDEN", "plugh") // the process's own counts before the cluster's
	for _, n := range c.Nodes {
		n.Stop()
		n.Start()
		n.AwaitReady()
		c.Await("the process's variable on "+n.Name, func() bool { return ask(n, "say plugh") == 400 && ask(n, "say xyzzy") == 200 })
	}
	v, err := api.Environment().One(t.Context(), "FORBIDDEN")
	if err != nil || !v.Overridden {
		t.Errorf("got %+v, %v, want it overridden", v, err)
	}
	if err := os.Unsetenv("FORBIDDEN"); err != nil {
		t.Fatal(err)
	}
	if err := api.Environment().Delete(t.Context(), "UPSTREAM_KEY"); err != nil {
		t.Fatal(err)
	}
	c.Await("the end of the variable", func() bool { return ask(c.Nodes[2], "hello") != 200 })
}

// TestEnvironment_FaultKeepsWhatRuns takes away what a guardrail's configuration refers to: on every node the process
// with the earlier configuration goes on protecting, says so, and is replaced when the configuration works again.
func TestEnvironment_FaultKeepsWhatRuns(t *testing.T) {
	c := nodetest.Config{Edit: quick}.Start(t, 3)
	api := c.Nodes[0].Admin()
	set := func(value string) {
		t.Helper()
		if _, err := api.Environment().Replace(t.Context(), "FORBIDDEN_WORD", nodetest.Fields{"value": value}); err != nil {
			t.Fatal(err)
		}
	}
	set("xyzzy")
	if _, err := api.Guardrails().Create(t.Context(), nodetest.Fields{
		"name": "words", "plugin": "keywords", "hooks": []string{"before"}, "config": nodetest.Fields{"words": []string{"env://FORBIDDEN_WORD"}},
	}); err != nil {
		t.Fatal(err)
	}
	finds := func(n *nodetest.Node, text string) string {
		t.Helper()
		said, err := n.Admin().TryGuardrail(t.Context(), "words", client.GuardrailTry{Text: text})
		if err != nil {
			return err.Error()
		}
		return said.Status
	}
	for _, n := range c.Nodes {
		c.Await("the guardrail on "+n.Name, func() bool { return finds(n, "say xyzzy") == "blocked" })
	}
	before := running(t, c.Nodes[0], "words")
	if err := api.Environment().Delete(t.Context(), "FORBIDDEN_WORD"); err != nil {
		t.Fatal(err)
	}
	c.Await("every node shows the fault beside what runs", func() bool {
		now := running(t, c.Nodes[0], "words")
		return len(now) == len(c.Nodes) && all(now, func(p client.PluginProcess) bool {
			return p.State == "running" && p.Outdated && strings.Contains(p.Error, "FORBIDDEN_WORD")
		})
	})
	for _, n := range c.Nodes {
		if got := finds(n, "say xyzzy"); got != "blocked" {
			t.Errorf("%s: %s with a faulty configuration, want what ran before to protect", n.Name, got)
		}
		if now := running(t, c.Nodes[0], "words")[n.Name]; now[0].PID != before[n.Name][0].PID {
			t.Errorf("%s: process %d became %d", n.Name, before[n.Name][0].PID, now[0].PID)
		}
	}
	if status, body := c.Nodes[1].Chat(c.Key(0, nodetest.Fields{"name": "k"}).Secret); status != 200 {
		t.Errorf("a harmless request: %d %s", status, body)
	}
	set("plugh")
	c.Await("the new configuration on every node", func() bool {
		for _, n := range c.Nodes {
			if finds(n, "say plugh") != "blocked" || finds(n, "say xyzzy") != "passed" {
				return false
			}
		}
		return all(running(t, c.Nodes[0], "words"), func(p client.PluginProcess) bool { return !p.Outdated && p.Error == "" })
	})
}
