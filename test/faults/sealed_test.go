//go:build e2e

package faults

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestSealed_SurvivesTheKEK has a node start with a sealed variable, by which a provider is asked, and exchanges the KEK twice,
// once with that node away. What was sealed before goes on opening, at each start, and the node's status names it with the
// KEK that it rests on; sealed again it is named no more. Nothing of the old KEK itself is left in the folder.
func TestSealed_SurvivesTheKEK(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, 3)
	_, key := c.NewKey(0, map[string]any{})
	status := c.Admin(0, http.MethodPost, "/api/v1/models", map[string]any{
		"name":        "sealed",
		"deployments": []map[string]any{{"provider": "openai", "api_key": "env://UPSTREAM_KEY", "api_base": c.MockURL() + "/v1", "model": "demo", "price": map[string]any{"input": 0, "output": 0}}},
	}, nil)
	if status != http.StatusCreated {
		t.Fatalf("create model: %d", status)
	}
	n := c.Nodes[2]
	seal := func() string {
		cmd := exec.CommandContext(t.Context(), cluster.Binary(t), "secret", "seal", "--config", n.File)
		cmd.Env, cmd.Stdin = append(cmd.Environ(), "CONCLAVE_MASTER_KEY="+cluster.MasterKey), strings.NewReader("sk-upstream\n")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("seal: %v", err)
		}
		return strings.TrimSpace(string(out))
	}
	value := seal()
	start := func() {
		n.StartProgram(cluster.Binary(t), []string{"UPSTREAM_KEY=" + value})
		n.AwaitReady()
	}
	ask := cluster.ChatBody()
	ask["model"] = "sealed"
	answers := func(when string) {
		c.Await("the node asks by the sealed key "+when, 20*time.Second, func() bool {
			return cluster.Call(t, http.MethodPost, n.URL+"/v1/chat/completions", key, ask, nil) == http.StatusOK
		})
	}
	rests := func() string {
		var out struct {
			Members []struct {
				Name     string
				Warnings []string
			}
		}
		c.Admin(0, http.MethodGet, "/api/v1/cluster", nil, &out)
		for _, m := range out.Members {
			if m.Name == n.Name {
				return strings.Join(m.Warnings, " ")
			}
		}
		return ""
	}
	rotated := func() {
		c.Await("the KEK is exchanged", 60*time.Second, func() bool { return exchanged(c, "kek").Step == "done" })
	}
	n.Stop()
	start()
	answers("at first")
	first := strings.TrimSpace(string(kekOf(t, n)))
	if w := rests(); strings.Contains(w, "UPSTREAM_KEY") {
		t.Errorf("before the exchange the status says %q", w)
	}

	planUndefined(t, c)

	must(t, c, 0, "cluster", "rotate", "kek")
	rotated()
	c.AwaitThat("the status names what rests on the old KEK", 20*time.Second, func() (bool, string) {
		w := rests()
		return strings.Contains(w, "environment variable UPSTREAM_KEY (kek_"), w
	})
	n.Stop()
	must(t, c, 0, "cluster", "rotate", "kek", "--wait", "0s")
	start()
	answers("after two exchanges, the second without it")
	rotated()
	n.Kill()
	start()
	answers("after another start")
	files, err := filepath.Glob(filepath.Join(n.Dir, "kek*"))
	if err != nil || len(files) != 2 {
		t.Errorf("the folder has %v, %v, want the KEK and the keys of sealed values", files, err)
	}
	for _, f := range files {
		if b := content(t, f); strings.Contains(string(b), first) {
			t.Errorf("%s has the first KEK", f)
		}
	}

	n.Stop()
	value = seal()
	start()
	answers("sealed again")
	c.AwaitThat("nothing rests on an old KEK", 20*time.Second, func() (bool, string) { w := rests(); return !strings.Contains(w, "UPSTREAM_KEY"), w })
}

// planUndefined plans files that refer to a variable which only the process of one node has, and to one that nobody has.
func planUndefined(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.hcl")
	plan := func(name string) (string, int) {
		text := "credential \"c\" {\n  provider = \"openai\"\n  api_key  = \"" + name + "\"\n}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return conclave(t, c, 0, "plan", "-f", file)
	}
	if out, status := plan("os.environ/UPSTREAM_KEY"); status != 2 || !strings.Contains(out, "UPSTREAM_KEY is set on c and not on a, b") {
		t.Errorf("a variable of one node's process: exit status %d\n%s", status, out)
	}
	if out, status := plan("env://NOWHERE"); status != 1 || !strings.Contains(out, "x.hcl line 3") || !strings.Contains(out, "NOWHERE") {
		t.Errorf("a variable that nobody has: exit status %d\n%s", status, out)
	}
}
