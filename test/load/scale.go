package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/internal/ports"
)

// settle is how long a node is left alone before its memory counts: what a start reads of the
// state's file is mapped until a second has gone by without a reader.
const settle = 10 * time.Second

// scaleNode is a node with many keys.
type scaleNode struct {
	conclave, file, url string
	keys                int
	prefix              []string // of the command line
	proc                *process
}

// runScale fills a node with o.scale keys, stops it, and measures its start and its memory.
func runScale(ctx context.Context, o options, w io.Writer) error {
	dir, err := os.MkdirTemp("", "conclave-load-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	n, err := newScaleNode(o, dir)
	if err != nil {
		return err
	}
	if err := n.start(ctx, "--bootstrap"); err != nil {
		return err
	}
	defer func() { n.proc.stop() }()
	began := time.Now()
	if _, err := fillKeys(ctx, []string{n.url}, "bulk", fillCall, o.scale, o.plain); err != nil {
		return err
	}
	took := time.Since(began)
	if err := n.fillModels(ctx, o.models); err != nil {
		return err
	}
	fmt.Fprintf(w, "one node, %d keys, %d models: keys made in %s (%.0f a second)", o.scale, o.models, took.Round(time.Millisecond), float64(o.scale)/took.Seconds())
	fmt.Fprintf(w, ", RssAnon %s, peak RSS %s\n", mib(n.proc.status("RssAnon")), mib(n.proc.status("VmHWM")))
	if err := n.restart(ctx, w, "clean stop", false); err != nil {
		return err
	}
	return n.restart(ctx, w, "kill -9", true)
}

func newScaleNode(o options, dir string) (*scaleNode, error) {
	var addrs [2]string
	for i := range addrs {
		a, err := ports.Addr()
		if err != nil {
			return nil, err
		}
		addrs[i] = a
	}
	n := &scaleNode{conclave: o.conclave, keys: o.scale, file: filepath.Join(dir, "node.hcl"), url: "http://" + addrs[0]}
	if o.oneCPU {
		n.prefix = []string{"taskset", "--cpu-list", "0", "env", "GOMAXPROCS=1"}
	}
	text := fmt.Sprintf("node {\n  name = \"a\"\n  data_dir = %q\n  listen = %q\n  cluster = %q\n  master_key = env(\"CONCLAVE_MASTER_KEY\")\n}\n",
		filepath.Join(dir, "data"), addrs[0], addrs[1])
	return n, os.WriteFile(n.file, []byte(text), 0o600)
}

// start starts the node and measures until it is ready.
func (n *scaleNode) start(ctx context.Context, args ...string) error {
	line := slices.Concat(n.prefix, []string{n.conclave, "serve", "--config", n.file}, args)
	p, err := start(ctx, []string{"CONCLAVE_MASTER_KEY=" + masterKey}, line[0], line[1:]...)
	if err != nil {
		return err
	}
	n.proc = p
	return p.waitOK(ctx, n.url+"/health/readiness", time.Minute)
}

// fillModels makes models, and has a plugin judge what the first of them is asked: the node is not ready without it.
func (n *scaleNode) fillModels(ctx context.Context, models int) error {
	client := &http.Client{}
	for i := range models {
		_, err := create(ctx, client, n.url+"/api/v1/models", map[string]any{
			"name": modelName(i),
			"deployments": []any{map[string]any{
				"provider": "openai", "api_base": "http://127.0.0.1:9/v1", "model": modelName(i), "price": map[string]any{"input": 0.15, "output": 0.60},
			}},
		})
		if err != nil {
			return err
		}
	}
	if models == 0 {
		return nil
	}
	_, err := create(ctx, client, n.url+"/api/v1/guardrails", map[string]any{
		"name": "words", "plugin": "keywords", "hooks": []string{"before"}, "models": []string{modelName(0)}, "config": map[string]any{"words": []string{"forbidden"}},
	})
	return err
}

func modelName(i int) string { return fmt.Sprintf("model-%d", i) }

func (n *scaleNode) restart(ctx context.Context, w io.Writer, how string, kill bool) error {
	if kill {
		_ = n.proc.cmd.Process.Kill() // it is there: the start before waited for it
		<-n.proc.done
	} else {
		n.proc.stop()
	}
	began := time.Now()
	if err := n.start(ctx); err != nil {
		return err
	}
	ready := time.Since(began)
	p50, p99, err := n.ask(ctx)
	if err != nil {
		return err
	}
	at := n.proc.status("VmRSS")
	pause := time.NewTimer(settle)
	defer pause.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-pause.C:
	}
	fmt.Fprintf(w, "  start after %s: ready in %s, GET of a key: p50 %s, p99 %s; RSS at once %s, after %s %s, of which RssAnon %s\n",
		how, ready.Round(time.Millisecond), p50, p99, mib(at), settle, mib(n.proc.status("VmRSS")), mib(n.proc.status("RssAnon")))
	return nil
}

// ask reads keys from all over the file, one after the other.
func (n *scaleNode) ask(ctx context.Context) (p50, p99 time.Duration, err error) {
	const reads = 2000
	times := make([]time.Duration, 0, reads)
	for i := range reads {
		d, err := get(ctx, fmt.Sprintf("%s/api/v1/keys/bulk-%d", n.url, i*(n.keys/reads)))
		if err != nil {
			return 0, 0, fmt.Errorf("read keys: %w", err)
		}
		times = append(times, d)
	}
	slices.Sort(times)
	return times[reads/2].Round(time.Microsecond), times[reads*99/100].Round(time.Microsecond), nil
}

func get(ctx context.Context, url string) (time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+masterKey)
	began := time.Now()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return 0, err
	}
	if res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("GET %s: status %d", url, res.StatusCode)
	}
	return time.Since(began), nil
}
