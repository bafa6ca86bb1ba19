package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// reportPlugins starts both shipped plugins on the node, sends some requests through them,
// and writes what their processes take.
func (r *rig) reportPlugins(ctx context.Context, w io.Writer) error {
	base := r.node.base
	for path, body := range map[string]string{
		"/api/v1/guardrails": `{"name": "words", "plugin": "keywords", "config": {"words": ["secret project"]}}`,
		"/api/v1/callbacks":  `{"name": "log", "plugin": "file", "config": {"path": "requests.jsonl"}}`,
	} {
		if err := post(ctx, base+path, body); err != nil {
			return err
		}
	}
	children, err := r.nod.awaitChildren(ctx, 2)
	if err != nil {
		return err
	}
	if err := r.nod.waitOK(ctx, base+"/health/readiness", 10*time.Second); err != nil {
		return err
	}
	res, err := load{body: chatBody("demo", false), count: 1000, conns: 16}.drive(ctx, r.node)
	if err != nil {
		return fmt.Errorf("with plugins: %w", err)
	}
	fmt.Fprintf(w, "with both plugins: p50 %s at 16 connections, %d errors;", res.p50.Round(time.Microsecond), res.errors)
	for _, pid := range children {
		fmt.Fprintf(w, " %s %s (peak, at its start: %s);", pluginName(pid), mib(statusOf(pid, "VmRSS")), mib(statusOf(pid, "VmHWM")))
	}
	fmt.Fprintln(w)
	return nil
}

func post(ctx context.Context, url, body string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+masterKey)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusCreated {
		text, _ := io.ReadAll(res.Body)
		return fmt.Errorf("POST %s: status %d: %s", url, res.StatusCode, text)
	}
	return nil
}

// awaitChildren waits until the process has so many children.
func (p *process) awaitChildren(ctx context.Context, n int) ([]int, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if pids := p.children(); len(pids) == n {
			return pids, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the node has %d plugin processes, want %d", len(p.children()), n)
		case <-tick.C:
		}
	}
}

func (p *process) children() []int {
	var pids []int
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.cmd.Process.Pid))
	for _, l := range lists {
		text, err := os.ReadFile(l)
		if err != nil {
			continue // the thread has ended
		}
		for f := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// pluginName is the last word of a plugin's command line.
func pluginName(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return "a plugin that has ended"
	}
	words := strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
	return words[len(words)-1]
}
