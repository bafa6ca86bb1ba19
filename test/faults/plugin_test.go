//go:build e2e

package faults

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/internal/launch"
	"github.com/conclave-llm/conclave/test/cluster"
)

func contains(text []byte, part string) bool { return bytes.Contains(text, []byte(part)) }

// pluginPIDs are the processes that serve the plugin as children of node.
func pluginPIDs(node *cluster.Node, plugin string) []int {
	var pids []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		cmd, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || !strings.Contains(string(cmd), "plugin\x00serve\x00"+plugin) {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		f := strings.Fields(rest)
		if ppid, _ := strconv.Atoi(f[1]); ppid == node.PID() && f[0] != "Z" {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestPlugin_KilledUnderLoad kills the guardrail's process again and again under load. With
// on_error = block no forbidden prompt passes and no clean one is answered unchecked; with
// pass no request fails. The process is back within a second.
func TestPlugin_KilledUnderLoad(t *testing.T) {
	for _, onError := range []string{"block", "pass"} {
		t.Run(onError, func(t *testing.T) {
			c := cluster.Start(t, 1)
			guard := map[string]any{
				"name": "words", "plugin": "keywords", "on_error": onError,
				"config": map[string]any{"words": []string{"forbidden"}},
			}
			if got, text := cluster.CallRaw(t, http.MethodPost, c.Nodes[0].URL+"/api/v1/guardrails", cluster.MasterKey, guard); got != http.StatusCreated {
				t.Fatalf("create guardrail: status %d: %s", got, text)
			}
			_, secret := c.NewKey(0, map[string]any{})
			bad := cluster.ChatBody()
			bad["messages"] = []map[string]string{{"role": "user", "content": "a forbidden word"}}
			ask := func(body any) (int, []byte) {
				return cluster.CallRaw(t, http.MethodPost, c.Nodes[0].URL+"/v1/chat/completions", secret, body)
			}
			c.Await("the guardrail refuses", 10*time.Second, func() bool { s, _ := ask(bad); return s == http.StatusBadRequest })
			killUnderLoad(t, c, ask, bad, onError == "pass")
		})
	}
}

func killUnderLoad(t *testing.T, c *cluster.Cluster, ask func(any) (int, []byte), bad any, pass bool) {
	t.Helper()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if s, text := ask(cluster.ChatBody()); s != http.StatusOK && (pass || s != http.StatusServiceUnavailable) {
					t.Errorf("clean prompt: status %d: %s", s, text)
				}
				if s, text := ask(bad); s == http.StatusOK && !pass {
					t.Errorf("forbidden prompt was answered: %s", text)
				}
			}
		})
	}
	for range 5 {
		pids := pluginPIDs(c.Nodes[0], "keywords")
		if len(pids) != 1 {
			t.Fatalf("%d processes serve the guardrail, want 1", len(pids))
		}
		if err := launch.Signal(pids[0], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		killed := time.Now()
		c.Await("the guardrail refuses again", time.Second, func() bool {
			now := pluginPIDs(c.Nodes[0], "keywords")
			if len(now) != 1 || now[0] == pids[0] {
				return false
			}
			s, text := ask(bad)
			return s == http.StatusBadRequest && contains(text, "words")
		})
		t.Logf("back after %s", time.Since(killed).Round(time.Millisecond))
	}
	close(stop)
	wg.Wait()
}

// TestCallback_DeliversEverything runs the file callback while its process is killed and
// expects every request in the file, once or more.
func TestCallback_DeliversEverything(t *testing.T) {
	c := cluster.Start(t, 1)
	path := filepath.Join(t.TempDir(), "requests.jsonl")
	sink := map[string]any{"name": "log", "plugin": "file", "config": map[string]any{"path": path}}
	if got, text := cluster.CallRaw(t, http.MethodPost, c.Nodes[0].URL+"/api/v1/callbacks", cluster.MasterKey, sink); got != http.StatusCreated {
		t.Fatalf("create callback: status %d: %s", got, text)
	}
	id, secret := c.NewKey(0, map[string]any{})
	const requests = 200
	for i := range requests {
		if got := c.Chat(0, secret); got != http.StatusOK {
			t.Fatalf("request %d: status %d", i, got)
		}
		if i%50 == 25 {
			for _, pid := range pluginPIDs(c.Nodes[0], "file") {
				_ = launch.Signal(pid, syscall.SIGKILL) // it may have ended already
			}
		}
	}
	lines := func() int {
		text, _ := os.ReadFile(path)
		seen := map[string]bool{}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, id) {
				seen[line] = true
			}
		}
		return len(seen)
	}
	c.Await(fmt.Sprintf("%d requests are in the file", requests), 15*time.Second, func() bool { return lines() >= requests })
	if n := lines(); n != requests {
		t.Errorf("%d different records, want %d", n, requests)
	}
}
