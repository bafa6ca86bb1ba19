//go:build e2e

package faults

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/plugins/pack"
	"github.com/conclave-llm/conclave/resource/manifest"
	"github.com/conclave-llm/conclave/test/cluster"
)

// nextBinary is the program of the version to come: CONCLAVE_NEXT_BIN, built with the tag
// conclave_next.
func nextBinary(t *testing.T) string {
	t.Helper()
	bin := os.Getenv("CONCLAVE_NEXT_BIN")
	if bin == "" {
		t.Fatal("CONCLAVE_NEXT_BIN names no binary; run make e2e")
	}
	return bin
}

// roaming is a load whose clients ask the next address when one does not answer.
type roaming struct {
	stop              chan struct{}
	wg                sync.WaitGroup
	ok, failed, moved atomic.Int64 // moved: answered by another node than the first asked
	again             atomic.Int64 // rounds after one in which no node answered
	mu                sync.Mutex   // guards why
	why               []string     // each answer of a round in which no node served
}

func roam(t *testing.T, c *cluster.Cluster, secret string) *roaming {
	l := &roaming{stop: make(chan struct{})}
	for worker := range 4 {
		l.wg.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for at := worker; ; at++ {
				select {
				case <-l.stop:
					return
				case <-tick.C:
				}
				l.once(t, c, secret, at)
			}
		})
	}
	return l
}

// once sends one request to one address after the other, and if none answers does so again, twice, as OpenAI's
// clients do.
func (l *roaming) once(t *testing.T, c *cluster.Cluster, secret string, at int) {
	var seen []string
	for try := range 3 * len(c.Nodes) {
		if try > 0 && try%len(c.Nodes) == 0 {
			l.again.Add(1)
			l.note(seen)
			select {
			case <-t.Context().Done():
			case <-time.After(clientPause):
			}
		}
		n := c.Nodes[(at+try)%len(c.Nodes)]
		status, body := cluster.CallRaw(t, http.MethodPost, n.URL+"/v1/chat/completions", secret, cluster.ChatBody())
		if status == http.StatusOK {
			l.ok.Add(1)
			if try > 0 {
				l.moved.Add(1)
			}
			return
		}
		seen = append(seen, fmt.Sprintf("%s %d %.120s", n.Name, status, body))
	}
	l.failed.Add(1)
	l.note(seen)
}

func (l *roaming) note(seen []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.why = append(l.why, strings.Join(seen, "; "))
}

// clientPause is how long OpenAI's clients wait before they ask again.
const clientPause = 500 * time.Millisecond

func (l *roaming) end(t *testing.T) {
	t.Helper()
	close(l.stop)
	l.wg.Wait()
	t.Logf("%d requests answered, %d of them by another node than the first asked, %d failed; %d times all nodes were asked again",
		l.ok.Load(), l.moved.Load(), l.failed.Load(), l.again.Load())
	if l.failed.Load() > 0 {
		t.Errorf("%d requests failed, for example: %s", l.failed.Load(), l.why[len(l.why)-1])
	}
}

// upgrade is what `conclave cluster upgrade status` tells.
type upgrade struct {
	Version  uint32 `json:"version"`
	Possible uint32 `json:"possible"`
	Nodes    []struct {
		Name   string `json:"name"`
		Binary string `json:"binary"`
	} `json:"nodes"`
	Rollout *struct {
		State  string `json:"state"`
		Reason string `json:"reason"`
		Nodes  []struct {
			Name string `json:"name"`
			Step string `json:"step"`
		} `json:"nodes"`
	} `json:"rollout"`
}

// bundler makes bundles and rolls them out.
type bundler struct {
	t   *testing.T
	c   *cluster.Cluster
	dir string
	key string // file of the publisher's key
}

// conclave runs the command line.
func (b *bundler) conclave(args ...string) ([]byte, error) {
	cmd := exec.CommandContext(b.t.Context(), cluster.Binary(b.t), args...)
	cmd.Env = append(os.Environ(), "CONCLAVE_ADMIN_KEY="+cluster.MasterKey)
	if b.c != nil {
		cmd.Env = append(cmd.Env, "CONCLAVE_SERVER="+b.c.Nodes[0].URL)
	}
	return cmd.CombinedOutput()
}

func (b *bundler) must(args ...string) string {
	b.t.Helper()
	out, err := b.conclave(args...)
	if err != nil {
		b.t.Fatalf("conclave %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// make writes a bundle of one program, and of plugins.
func (b *bundler) make(version, program, key string, plugins ...string) string {
	b.t.Helper()
	file := filepath.Join(b.dir, version+".bundle")
	args := []string{"bundle", "create", file, "--version", version, "--key", key, "--program", runtime.GOOS + "/" + runtime.GOARCH + "=" + program}
	for _, p := range plugins {
		args = append(args, "--plugin", p)
	}
	b.must(args...)
	return file
}

// pack makes a version of the plugin "words": a script.
func (b *bundler) pack(version, text string) string {
	b.t.Helper()
	m := manifest.Manifest{Name: "words", Version: version, Kind: "guardrail"}
	p, err := pack.New(m, []pack.Binary{{OS: manifest.Any, Arch: manifest.Any, Body: []byte("#!/bin/sh\n# " + version + "\n" + text + "\n")}}, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	file := filepath.Join(b.dir, "words-"+version+pack.Extension)
	var out bytes.Buffer
	if err := p.Write(&out); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return file
}

// awaitPlugin waits until every node runs a version of the plugin, and nothing else of it.
func (b *bundler) awaitPlugin(version string) {
	b.t.Helper()
	b.c.Await("every node runs version "+version+" of the plugin", 20*time.Second, func() bool {
		var page struct {
			Items []struct {
				Processes []struct {
					Bundle, State, SHA256, Runs string
				}
			}
		}
		if b.c.Admin(0, http.MethodGet, "/api/v1/cluster/plugins", nil, &page) != http.StatusOK || len(page.Items) != len(b.c.Nodes) {
			return false
		}
		for _, n := range page.Items {
			if len(n.Processes) != 1 || n.Processes[0].Bundle != version || n.Processes[0].State != "running" || n.Processes[0].Runs != n.Processes[0].SHA256 {
				return false
			}
		}
		return true
	})
}

// script writes a program that is no good.
func (b *bundler) script(name, text string) string {
	b.t.Helper()
	file := filepath.Join(b.dir, name)
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		b.t.Fatal(err)
	}
	return file
}

func (b *bundler) status() (u upgrade) {
	for i := range b.c.Nodes {
		if b.c.Admin(i, http.MethodGet, "/api/v1/cluster/upgrade", nil, &u) == http.StatusOK {
			return u
		}
	}
	return upgrade{}
}

// await waits for the rollout to end, and for the nodes to run what they should.
func (b *bundler) await(state, binary string) upgrade {
	b.t.Helper()
	begin := time.Now()
	var u upgrade
	b.c.Await("the rollout is "+state, 3*time.Minute, func() bool {
		u = b.status()
		return u.Rollout != nil && u.Rollout.State == state
	})
	b.c.Await("every node runs "+binary, 20*time.Second, func() bool {
		u = b.status()
		for _, n := range u.Nodes {
			if n.Binary != binary {
				return false
			}
		}
		return len(u.Nodes) == len(b.c.Nodes)
	})
	b.t.Logf("%s after %s: %s", state, time.Since(begin).Round(100*time.Millisecond), u.Rollout.Reason)
	return u
}

// TestUpgrade_Bundle rolls bundles through three nodes under load, with clients that ask the next
// address when one does not answer: none of their requests fails. A bundle that was changed or that
// a stranger signed is refused; one whose program does not live is rolled back by itself; a good one
// is rolled out, rolled back by command, rolled out again and finalised. What only the new program
// knows waits for that, and afterwards there is no way back.
func TestUpgrade_Bundle(t *testing.T) {
	t.Parallel()
	next := nextBinary(t)
	b := &bundler{t: t, dir: t.TempDir()}
	b.key = filepath.Join(b.dir, "publisher.key")
	public := b.must("bundle", "keygen", b.key)
	stranger := filepath.Join(b.dir, "stranger.key")
	b.must("bundle", "keygen", stranger)
	b.c = cluster.StartWith(t, 3, fmt.Sprintf("upgrade_publishers = [%q]\n  drain_timeout = \"10s\"", public))
	old := b.status().Nodes[0].Binary
	id, secret := b.c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 1000, "per": "day"}}})
	for i := range b.c.Nodes {
		b.c.Await("the node serves the key", 10*time.Second, func() bool { return b.c.Chat(i, secret) == http.StatusOK })
	}
	start := func(file string) ([]byte, error) {
		return b.conclave("cluster", "upgrade", "start", file, "--health", "8s", "--hold", "1s")
	}
	words := "exec " + cluster.Binary(t) + " plugin serve keywords"
	b.must("plugin", "upload", b.pack("1.0", words))
	if status, body := cluster.CallRaw(t, http.MethodPost, b.c.Nodes[0].URL+"/api/v1/guardrails", cluster.MasterKey, map[string]any{
		"name": "g", "plugin": "words", "hooks": []string{"before"}, "config": map[string]any{"words": []string{"forbidden"}},
	}); status != http.StatusCreated {
		t.Fatalf("create guardrail: %d %s", status, body)
	}
	b.awaitPlugin("1.0")
	good := b.make("next", next, b.key, b.pack("2.0", words))

	t.Run("a stranger's is refused", func(t *testing.T) {
		out, err := start(b.make("stranger", next, stranger))
		if err == nil || !bytes.Contains(out, []byte("not trusted")) {
			t.Errorf("got %v: %s", err, out)
		}
	})
	t.Run("a flipped byte is refused", func(t *testing.T) {
		text, err := os.ReadFile(good)
		if err != nil {
			t.Fatal(err)
		}
		text[len(text)/2] ^= 1
		file := filepath.Join(b.dir, "flipped.bundle")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := start(file)
		if err == nil || !bytes.Contains(out, []byte("not what its manifest says")) {
			t.Errorf("got %v: %s", err, out)
		}
	})
	if u := b.status(); u.Rollout != nil {
		t.Fatalf("there is a rollout: %+v", u.Rollout)
	}
	load := roam(t, b.c, secret)
	roll := func(name, version, program, state, binary string) upgrade {
		t.Helper()
		file := good
		if program != next {
			file = b.make(version, program, b.key)
		}
		for _, n := range b.c.Nodes {
			n.AwaitReady()
		}
		if out, err := start(file); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		u := b.await(state, binary)
		t.Logf("%s: %+v", name, u.Rollout.Nodes)
		return u
	}
	u := roll("a program that ends", "ends", b.script("ends", "exit 3"), "rolled_back", old)
	if !strings.Contains(u.Rollout.Reason, "status 3") {
		t.Errorf("reason: %q", u.Rollout.Reason)
	}
	roll("a program that hangs", "hangs", b.script("hangs", "exec sleep 600"), "rolled_back", old)
	t.Run("killed while on trial", func(t *testing.T) {
		for _, n := range b.c.Nodes {
			n.AwaitReady()
		}
		if out, err := start(b.make("killed", b.script("killed", "echo on trial; exec sleep 600"), b.key)); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		at := -1
		b.c.Await("a node tries it", 30*time.Second, func() bool {
			for i, n := range b.c.Nodes {
				if strings.Contains(n.Log(), "on trial\n") && b.c.Chat(i, secret) == 0 {
					at = i
				}
			}
			return at >= 0
		})
		b.c.Nodes[at].Kill()
		b.c.Nodes[at].Start()
		b.c.Nodes[at].AwaitReady()
		u := b.await("rolled_back", old)
		if !strings.Contains(u.Rollout.Reason, "ended while the new program was on trial") {
			t.Errorf("reason: %q", u.Rollout.Reason)
		}
	})
	t.Run("a good program with a plugin that ends", func(t *testing.T) {
		for _, n := range b.c.Nodes {
			n.AwaitReady()
		}
		if out, err := start(b.make("illplugin", next, b.key, b.pack("1.1", "exit 3"))); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if u := b.await("rolled_back", old); !strings.Contains(u.Rollout.Reason, "does not run with version 1.1 of the plugin words") {
			t.Errorf("reason: %q", u.Rollout.Reason)
		}
		b.awaitPlugin("1.0")
	})
	roll("a good program", "next", next, "done", "next")
	b.awaitPlugin("2.0")

	token := func() error {
		b.c.Await("a join token is made", 10*time.Second, func() bool {
			return b.c.Admin(0, http.MethodPost, "/api/v1/cluster/join-tokens", map[string]any{}, nil) == http.StatusCreated
		})
		var page struct {
			Items []struct {
				ID string `json:"id"`
			} `json:"items"`
		}
		if b.c.Admin(0, http.MethodGet, "/api/v1/cluster/join-tokens", nil, &page) != http.StatusOK || len(page.Items) == 0 {
			t.Fatal("there is no join token")
		}
		out, err := b.conclave("cluster", "join-token", "revoke", page.Items[0].ID)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	if err := token(); err == nil || !strings.Contains(err.Error(), "waits until the cluster's version is raised from 1 to 2") {
		t.Errorf("a command of the new program before it is finalised: %v", err)
	}
	if out := b.must("cluster", "upgrade", "rollback", "--dry-run"); !strings.Contains(out, "nothing was changed") || b.status().Rollout.State != "done" {
		t.Errorf("a rollback that is only tried: %s", out)
	}
	b.must("cluster", "upgrade", "rollback", "--reason", "a test")
	b.awaitPlugin("1.0")
	b.await("rolled_back", old)
	roll("the good program again", "next", next, "done", "next")
	b.must("cluster", "upgrade", "finalise")
	if err := token(); err != nil {
		t.Errorf("a command of the new program after it is finalised: %v", err)
	}
	if out, err := b.conclave("cluster", "upgrade", "rollback"); err == nil || !bytes.Contains(out, []byte("cannot run it")) {
		t.Errorf("rollback after it is finalised: %v: %s", err, out)
	}
	load.end(t)
	for i, n := range b.c.Nodes { // the current program runs again after a crash
		n.Kill()
		b.c.Await("the node's port is free", 5*time.Second, func() bool { return b.c.Chat(i, secret) == 0 })
		n.Start()
		n.AwaitReady()
	}
	b.await("done", "next")
	awaitLedger(t, b.c)
	t.Logf("spend: %s", keyCost(b.c, 0, id))
}
