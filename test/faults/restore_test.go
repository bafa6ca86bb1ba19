//go:build e2e

package faults

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// conclave runs the program's command line against a cluster and returns what it printed.
func conclave(t *testing.T, c *cluster.Cluster, node int, args ...string) (out string, status int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), cluster.Binary(t), args...)
	cmd.Env = append(os.Environ(), "CONCLAVE_SERVER="+c.Nodes[node].URL, "CONCLAVE_MASTER_KEY="+cluster.MasterKey)
	text, err := cmd.CombinedOutput()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(text), e.ExitCode()
	}
	if err != nil {
		t.Fatalf("conclave %s: %v", strings.Join(args, " "), err)
	}
	return string(text), 0
}

// must is conclave for what has to go well.
func must(t *testing.T, c *cluster.Cluster, node int, args ...string) string {
	t.Helper()
	out, status := conclave(t, c, node, args...)
	if status != 0 {
		t.Fatalf("conclave %s: exit status %d\n%s", strings.Join(args, " "), status, out)
	}
	return out
}

// folder is a node's data folder.
func folder(n *cluster.Node) string { return n.Dir }

// TestSnapshot_RestoredUnderLoad restores a backup while requests come, and a node is dead that
// comes back afterwards: what was spent since the backup is in the books, each request once, and
// what else was done since is undone.
func TestSnapshot_RestoredUnderLoad(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, 3)
	id, secret := c.NewKey(0, map[string]any{"name": "k", "budgets": []map[string]any{{"usd": 1000, "per": "day"}}})
	gone, goneSecret := c.NewKey(0, map[string]any{"name": "gone"})
	file := filepath.Join(t.TempDir(), "cluster.snap")
	tr := startTraffic(c, secret, 2)
	c.Await("some requests were served", 20*time.Second, func() bool { return tr.answered[0].Load() > 50 })
	must(t, c, 1, "snapshot", "save", file)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	if out := must(t, c, 0, "snapshot", "verify", file, "--kek", filepath.Join(folder(c.Nodes[0]), "kek"), "-o", "json"); !strings.Contains(out, `"sealed": "yes"`) {
		t.Errorf("verify: %s", out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, planted := range []string{secret, goneSecret, cluster.MasterKey} {
		if bytes.Contains(b, []byte(planted)) {
			t.Error("a secret stands in the backup")
		}
	}
	// What comes after the backup.
	later, _ := c.NewKey(2, map[string]any{"name": "later"})
	if status := c.Admin(0, http.MethodDelete, "/api/v1/keys/"+gone, nil, nil); status >= 300 {
		t.Fatalf("delete: %d", status)
	}
	served := tr.answered[1].Load()
	c.Await("more requests were served", 20*time.Second, func() bool { return tr.answered[1].Load() > served+50 })
	down := (c.Leader() + 1) % 3
	up := (down + 1) % 3
	c.Nodes[down].Kill()

	torn := file + ".torn"
	if err := os.WriteFile(torn, b[:len(b)-100], 0o600); err != nil {
		t.Fatal(err)
	}
	if out, status := conclave(t, c, up, "snapshot", "restore", torn); status != 1 || !strings.Contains(out, "damaged") {
		t.Errorf("a torn file: exit status %d\n%s", status, out)
	}
	if out, status := conclave(t, c, up, "snapshot", "restore", file); status != 1 || !strings.Contains(out, "revoked") {
		t.Errorf("without a word about revoked keys: exit status %d\n%s", status, out)
	}
	out := must(t, c, up, "snapshot", "restore", file, "--revoked", "block", "--wait", "0")
	if !strings.Contains(out, "does not answer: nothing is granted until") {
		t.Errorf("the dead node is not warned of:\n%s", out)
	}
	c.Nodes[down].Start()
	c.Nodes[down].AwaitReady()
	c.Await("every node has told what it spent", 30*time.Second, func() bool {
		out, status := conclave(t, c, up, "cluster", "status", "-o", "json")
		return status == 0 && strings.Contains(out, `"generation": 1`) && !strings.Contains(out, `"replaying": true`)
	})
	served = tr.answered[down].Load()
	c.Await("requests are served on the node that was down", 30*time.Second, func() bool { return tr.answered[down].Load() > served+50 })
	tr.end()
	checkSpend(t, c, id, tr)
	for i := range c.Nodes {
		if status := c.Admin(i, http.MethodGet, "/api/v1/keys/"+later, nil, nil); status != http.StatusNotFound {
			t.Errorf("a key from after the backup: node %d answers %d", i, status)
		}
		if status := c.Chat(i, goneSecret); status == http.StatusOK {
			t.Errorf("a key that was deleted since works on node %d", i)
		}
	}
	must(t, c, 0, "ledger", "verify")
}

// TestRecover kills two of three nodes for good under load and destroys their disks. The third
// becomes a cluster of its own with one command: it has everything that was acknowledged to clients
// through it, and new nodes join.
func TestRecover(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, 3)
	id, secret := c.NewKey(0, map[string]any{"name": "k", "budgets": []map[string]any{{"usd": 1000, "per": "day"}}})
	survivor := (c.Leader() + 1) % 3
	keys := writeKeys(c, survivor, 20)
	tr := startTraffic(c, secret, 2)
	c.Await("some requests were served", 20*time.Second, func() bool { return tr.answered[survivor].Load() > 50 })
	for i, n := range c.Nodes {
		if i != survivor {
			n.Kill()
			if err := os.RemoveAll(folder(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	tr.end()
	lone := c.Nodes[survivor]
	if status := c.Chat(survivor, secret); status != http.StatusOK {
		t.Errorf("the survivor answers %d before the recovery", status)
	}
	const sure = "--i-know-this-commits-uncommitted-entries"
	if out, status := conclave(t, c, survivor, "recover", "--config", lone.File, sure); status != 1 || !strings.Contains(out, "stop it first") {
		t.Errorf("while it runs: exit status %d\n%s", status, out)
	}
	lone.Stop()
	if out, status := conclave(t, c, survivor, "recover", "--config", lone.File); status != 1 || !strings.Contains(out, "nothing was changed") || !strings.Contains(out, "last index") {
		t.Errorf("a look: exit status %d\n%s", status, out)
	}
	begun := time.Now()
	out := must(t, c, survivor, "recover", "--config", lone.File, sure)
	took := time.Since(begun)
	if !strings.Contains(out, "recovered: kept everything up to index") || strings.Count(out, " is dead: ") != 2 {
		t.Errorf("recover:\n%s", out)
	}
	lone.Start()
	lone.AwaitReady()
	t.Logf("recovered after %s, ready after %s", took.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
	if time.Since(begun) > time.Minute {
		t.Errorf("it took %s", time.Since(begun))
	}
	c.Await("changes are taken", 10*time.Second, func() bool {
		return c.Admin(survivor, http.MethodPost, "/api/v1/keys", map[string]any{"name": "after"}, nil) == http.StatusCreated
	})
	c.Await("the survivor serves", 10*time.Second, func() bool { return c.Chat(survivor, secret) == http.StatusOK })
	for i, k := range keys {
		if status := c.Chat(survivor, k); status != http.StatusOK {
			t.Errorf("acknowledged key %d answers %d", i, status)
		}
	}
	if keyUsage(c, survivor, id).Requests < tr.answered[survivor].Load() {
		t.Errorf("the books have %d requests, the survivor alone served %d", keyUsage(c, survivor, id).Requests, tr.answered[survivor].Load())
	}
	out = must(t, c, survivor, "cluster", "join-token", "--ttl", "5m")
	token := strings.Fields(out[strings.Index(out, "conclave1."):])[0]
	fresh := c.Nodes[(survivor+1)%3]
	fresh.Start("--join", lone.Address, "--token", token)
	fresh.AwaitReady()
	c.Await("a new node serves", 20*time.Second, func() bool { return c.Chat((survivor+1)%3, secret) == http.StatusOK })
}

// TestSnapshot_RestoredAgain restores one backup after the other under load, each a moment after it was made, so that
// what the nodes had under way of the state before comes to the one after; in the last quarter a node is killed meanwhile now and
// then. Each request is in the books once.
func TestSnapshot_RestoredAgain(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("CONCLAVE_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("CONCLAVE_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 3))
	c := cluster.Start(t, 3)
	id, secret := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 1000, "per": "day"}}})
	tr := startTraffic(c, secret, 1)
	const rounds = 28
	file, restored := filepath.Join(t.TempDir(), "backup"), 0
	for round := range rounds {
		at := r.IntN(3)
		if out, status := conclave(t, c, at, "snapshot", "save", file); status != 0 {
			t.Fatalf("snapshot save: %d %s", status, out)
		}
		pass(time.Duration(r.IntN(400)) * time.Millisecond)
		var kill sync.WaitGroup
		victim := -1
		if round >= rounds*3/4 && r.IntN(2) == 0 {
			victim = (at + r.IntN(2) + 1) % 3
			after := time.Duration(r.IntN(120)) * time.Millisecond
			kill.Go(func() {
				pass(after)
				c.Nodes[victim].Kill()
			})
		}
		if out, status := conclave(t, c, at, "snapshot", "restore", file, "--revoked", "block", "--wait", "0"); status == 0 {
			restored++
		} else if victim < 0 {
			t.Fatalf("snapshot restore: %d %s", status, out)
		}
		kill.Wait()
		if victim >= 0 {
			c.Nodes[victim].Start()
			c.Nodes[victim].AwaitReady()
		}
		pass(time.Duration(r.IntN(300)) * time.Millisecond)
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	tr.end()
	t.Logf("%d of %d were restored", restored, rounds)
	sameState(t, c)
	checkCrashSpend(t, c, id, tr, 0)
	awaitLedger(t, c)
}

// pass lets time go by: what comes at which moment is what is tested.
func pass(d time.Duration) { <-time.After(d) }
