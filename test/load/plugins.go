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

// compared are the plugins that requests are measured with, and without.
var compared = []struct{ name, path, record, body string }{
	{name: "no plugin"},
	{"a callback", "/api/v1/callbacks", "log", `{"name": "log", "plugin": "file", "config": {"path": "requests.jsonl"}}`},
	{"a callback, its server down", "/api/v1/callbacks", "down", `{"name": "down", "plugin": "webhook", "config": {"url": "http://127.0.0.1:1/"}}`},
	{"a guardrail before", "/api/v1/guardrails", "words", `{"name": "words", "plugin": "keywords", "hooks": ["before"], "config": {"words": ["secret project"]}}`},
}

// runPlugins measures what plugins do to requests: the open loop, in turns with each of them.
func runPlugins(ctx context.Context, o options, w io.Writer) error {
	r, err := startRig(ctx, o)
	if err != nil {
		return err
	}
	defer r.stop()
	l := load{body: chatBody("demo", false)}.every(o.rate, o.open)
	results := make([][]result, len(compared))
	for round := range o.rounds + 1 {
		for i := range compared {
			res, err := r.withPlugin(ctx, i, l)
			if err != nil {
				return fmt.Errorf("with %s: %w", compared[i].name, err)
			}
			if round > 0 { // the first warms up
				results[i] = append(results[i], res)
			}
		}
	}
	alone := median(results[0])
	fmt.Fprintf(w, "1 kB chats at %d/s, the median of %d rounds\n", o.rate, o.rounds)
	for i := range compared {
		m := median(results[i])
		fmt.Fprintf(w, "%-28s p50 %s (%+s), p99 %s (%+.1f %%), CPU of the node %.1f µs, %d errors\n", compared[i].name, m.p50.Round(time.Microsecond),
			(m.p50 - alone.p50).Round(time.Microsecond), m.p99.Round(time.Microsecond), 100*(float64(m.p99)/float64(alone.p99)-1), m.cpu, m.errors)
	}
	return nil
}

// withPlugin drives a load while one of the compared plugins runs.
func (r *rig) withPlugin(ctx context.Context, i int, l load) (result, error) {
	c := &compared[i]
	if c.path == "" {
		return l.drive(ctx, r.node)
	}
	if err := post(ctx, r.node.base+c.path, c.body); err != nil {
		return result{}, err
	}
	if _, err := r.nod.awaitChildren(ctx, 1); err != nil {
		return result{}, err
	}
	if err := r.nod.waitOK(ctx, r.node.base+"/health/readiness", 10*time.Second); err != nil {
		return result{}, err
	}
	res, err := l.drive(ctx, r.node)
	if err != nil {
		return result{}, err
	}
	if err := call(ctx, http.MethodDelete, r.node.base+c.path+"/"+c.record, "", http.StatusNoContent); err != nil {
		return result{}, err
	}
	_, err = r.nod.awaitChildren(ctx, 0)
	return res, err
}

func post(ctx context.Context, url, body string) error {
	return call(ctx, http.MethodPost, url, body, http.StatusCreated)
}

// call asks the admin API, and wants the status.
func call(ctx context.Context, method, url, body string, status int) error {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
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
	if res.StatusCode != status {
		text, _ := io.ReadAll(res.Body)
		return fmt.Errorf("%s %s: status %d: %s", method, url, res.StatusCode, text)
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
