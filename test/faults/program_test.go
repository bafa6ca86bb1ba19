//go:build e2e

package faults

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/internal/launch"
	"github.com/conclave-llm/conclave/internal/ports"
	"github.com/conclave-llm/conclave/test/cluster"
)

// devRun is a running `conclave dev`, as make run starts it.
type devRun struct {
	cmd   *exec.Cmd
	lines chan string
	text  strings.Builder
}

func startDev(t *testing.T, args ...string) *devRun {
	t.Helper()
	d := &devRun{cmd: exec.CommandContext(context.Background(), cluster.Binary(t), append([]string{"dev"}, args...)...), lines: make(chan string, 100)}
	d.cmd.Stderr = t.Output()
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(d.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			d.lines <- s.Text()
		}
	}()
	t.Cleanup(func() { _ = d.cmd.Process.Kill() }) // it has ended if all went well
	return d
}

// until reads what is printed up to a line with the text.
func (d *devRun) until(t *testing.T, text string) string {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case line, ok := <-d.lines:
			d.text.WriteString(line + "\n")
			if strings.Contains(line, text) {
				return d.text.String()
			}
			if !ok {
				t.Fatalf("conclave dev ended:\n%s", d.text.String())
			}
		case <-timeout:
			t.Fatalf("conclave dev did not print %q:\n%s", text, d.text.String())
		}
	}
}

// interrupt presses Ctrl-C and expects a clean end.
func (d *devRun) interrupt(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for line := range d.lines {
		d.text.WriteString(line + "\n")
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("conclave dev after Ctrl-C: %v\n%s", err, d.text.String())
	}
}

var (
	endpointLine = regexp.MustCompile(`http://127\.0\.0\.1:\d+/v1\b`)
	keyLine      = regexp.MustCompile(`virtual key: (\S+)`)
	curlLine     = regexp.MustCompile(`(?m)^curl .*$`)
	pidLine      = regexp.MustCompile(`node2: pid (\d+), (\S+)`)
)

// block is the first of a hundred ports.
func block(t *testing.T) int {
	t.Helper()
	base, err := ports.Block()
	if err != nil {
		t.Fatal(err)
	}
	return base
}

// TestDev_PrintedLineWorksOnEachPort starts what make run starts, runs the printed curl line
// against each printed endpoint, stops with Ctrl-C, and finds the data again.
func TestDev_PrintedLineWorksOnEachPort(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatal("needs curl")
	}
	dir := filepath.Join(t.TempDir(), "dev")
	port := strconv.Itoa(block(t))
	var key string
	for run := range 2 {
		d := startDev(t, "--data-dir", dir, "--port", port)
		text := d.until(t, "Ctrl-C stops")
		if m := keyLine.FindStringSubmatch(text); m == nil || (run == 1 && m[1] != key) {
			t.Fatalf("run %d: virtual key %v, want the one of the first run, %s", run, m, key)
		} else {
			key = m[1]
		}
		line := curlLine.FindString(text)
		first := endpointLine.FindString(line)
		endpoints := endpointLine.FindAllString(text, 3)
		for _, e := range endpoints {
			out, err := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(line, first, e, 1)+" -sS").CombinedOutput()
			if err != nil || !bytes.Contains(out, []byte(`"usage"`)) {
				t.Errorf("run %d, %s: %v\n%s", run, e, err, out)
			}
		}
		d.interrupt(t)
	}
}

// TestDev_Processes kills one node of `dev --processes` and starts it again by hand.
func TestDev_Processes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "dev")
	port := block(t)
	d := startDev(t, "--data-dir", dir, "--port", strconv.Itoa(port), "--processes")
	text := d.until(t, "Ctrl-C stops")
	m := pidLine.FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no pid of node2 in\n%s", text)
	}
	var pid int
	if _, err := fmt.Sscan(m[1], &pid); err != nil {
		t.Fatal(err)
	}
	if err := launch.Signal(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	master := regexp.MustCompile(`admin key: +(\S+)`).FindStringSubmatch(text)[1]
	again := exec.CommandContext(t.Context(), cluster.Binary(t), "serve", "--config", m[2])
	again.Env = append(os.Environ(), "CONCLAVE_MASTER_KEY="+master)
	if err := again.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "node2 is ready again", func() bool {
		res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/health/readiness", port+10))
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	if err := again.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := again.Wait(); err != nil {
		t.Errorf("node2 after SIGTERM: %v", err)
	}
	d.interrupt(t)
}

func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	end := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// TestServe_WrongFile expects a wrong configuration to be refused with its place and a hint,
// a status that is not zero, and nothing changed on disk.
func TestServe_WrongFile(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"unknown attribute", "node {\n  name    = \"a\"\n  lissten = \"127.0.0.1:0\"\n}\n", []string{"a.hcl", "line 3", "listen"}},
		{"missing variable", "node {\n  name       = \"a\"\n  master_key = env(\"CONCLAVE_NO_SUCH\")\n}\n", []string{"line 3", "CONCLAVE_NO_SUCH"}},
		{"wrong strategy", "node {\n  name       = \"a\"\n  master_key = \"sk-0123456789abcdef\"\n}\n\nmodel \"m\" {\n  strategy = \"fastest\"\n}\n", []string{"line 7", "least_busy"}},
		{"broken syntax", "node {\n", []string{"a.hcl", "line 1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "a.hcl")
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), cluster.Binary(t), "serve", "--config", file, "--bootstrap")
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			if err == nil || cmd.ProcessState.ExitCode() != 78 {
				t.Errorf("exit status %d, want 78", cmd.ProcessState.ExitCode())
			}
			for _, part := range tt.want {
				if !bytes.Contains(out, []byte(part)) {
					t.Errorf("output lacks %q:\n%s", part, out)
				}
			}
			if files, _ := os.ReadDir(dir); len(files) != 1 {
				t.Errorf("%d files in the folder, want the configuration alone", len(files))
			}
		})
	}
}

// TestCLI_AddsModel adds a model with one command and asks all nodes for it at once.
func TestCLI_AddsModel(t *testing.T) {
	c := cluster.Start(t, 3)
	cmd := exec.CommandContext(t.Context(), cluster.Binary(t), "model", "create", "third", "--provider", "openai",
		"--api-base", c.MockURL()+"/v1", "--upstream-model", "demo")
	cmd.Env = append(os.Environ(), "CONCLAVE_SERVER="+c.Nodes[2].URL, "CONCLAVE_ADMIN_KEY="+cluster.MasterKey)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, secret := c.NewKey(0, map[string]any{})
	ask := cluster.ChatBody()
	ask["model"] = "third"
	for _, n := range c.Nodes {
		if got, text := cluster.CallRaw(t, http.MethodPost, n.URL+"/v1/chat/completions", secret, ask); got != http.StatusOK {
			t.Errorf("node %s: status %d, want 200: %s", n.Name, got, text)
		}
	}
}
