//go:build e2e

package faults

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/node/torture/rig"
	"github.com/conclave-llm/conclave/test/cluster"
)

// The name of a key whose bytes are damaged, and what becomes of it.
const (
	markedName  = "marked-for-damage"
	damagedName = "larked-for-damage"
)

// wholeSnapshots are the files of a node's snapshots that are whole: one that is being written has a name that ends
// otherwise.
const wholeSnapshots = "raft/snapshots/*[0-9]/state.bin"

// newest is the newest file of a node's that matches.
func newest(t *testing.T, n *cluster.Node, pattern string) string {
	t.Helper()
	path, err := rig.Newest(n.Dir, pattern)
	if err != nil || path == "" {
		t.Fatalf("node %s has no %s: %v", n.Name, pattern, err)
	}
	return path
}

// flip changes a bit in the middle of what a file has.
func flip(t *testing.T, path string) {
	t.Helper()
	if err := rig.Flip(path); err != nil {
		t.Fatal(err)
	}
}

// damageName changes a letter of the marked key's name wherever a node's state has it.
func damageName(t *testing.T, n *cluster.Node) {
	t.Helper()
	if found, err := rig.Misspell(filepath.Join(n.Dir, "state", "fsm.db"), markedName, damagedName[0]); err != nil || found == 0 {
		t.Fatalf("the state of node %s has the key %d times: %v", n.Name, found, err)
	}
}

// TestDamage flips bits in every kind of file of a node that is stopped, takes its log the end, and loses its log, each
// time of a follower and under load. What is damaged is found at the start, put aside and never served; the node comes back by itself with
// what the others have, and nothing that was acknowledged is missing.
func TestDamage(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, 3)
	id, secret := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 1000, "per": "day"}}})
	c.NewKey(0, map[string]any{"name": markedName})
	for i := range c.Nodes {
		c.Await("the node serves the key", 10*time.Second, func() bool { return c.Chat(i, secret) == http.StatusOK })
	}
	tr := startTraffic(c, secret, 1)
	w := startWriter(t, c)
	aside := func(t *testing.T, n *cluster.Node, name string) {
		t.Helper()
		if _, err := os.Stat(filepath.Join(n.Dir, name)); err != nil {
			t.Errorf("what is damaged is not put aside: %v", err)
		}
	}
	for i, tt := range []struct {
		name string
		harm func(t *testing.T, n *cluster.Node)
		says string // in the log of the start
		look func(t *testing.T, n *cluster.Node)
	}{
		{
			"a bit of the log", func(t *testing.T, n *cluster.Node) { flip(t, newest(t, n, "raft/log/*.log")) }, "log is damaged",
			func(t *testing.T, n *cluster.Node) { aside(t, n, "raft.damaged") },
		},
		{"the end of the log", func(t *testing.T, n *cluster.Node) {
			if err := rig.CutEnd(newest(t, n, "raft/log/*.log")); err != nil {
				t.Fatal(err)
			}
		}, "log is damaged", func(t *testing.T, n *cluster.Node) { aside(t, n, "raft.damaged") }},
		{"the newest file of the log", func(t *testing.T, n *cluster.Node) {
			if err := os.Remove(newest(t, n, "raft/log/*.log")); err != nil {
				t.Fatal(err)
			}
		}, "log is damaged", func(t *testing.T, n *cluster.Node) { aside(t, n, "raft.damaged") }},
		{"the folder of the log", func(t *testing.T, n *cluster.Node) {
			if err := os.RemoveAll(filepath.Join(n.Dir, "raft")); err != nil {
				t.Fatal(err)
			}
		}, "log is damaged", nil},
		{"a value of the state", damageName, "damaged", nil},
		{
			"a snapshot", func(t *testing.T, n *cluster.Node) { flip(t, newest(t, n, wholeSnapshots)) }, "damaged",
			func(t *testing.T, n *cluster.Node) {
				c.Await("it is put aside", 10*time.Second, func() bool {
					_, err := os.Stat(filepath.Join(n.Dir, "raft", "damaged"))
					return err == nil
				})
			},
		},
		{"a bit of the journal", func(t *testing.T, n *cluster.Node) { flip(t, newest(t, n, "journal/*.seg")) }, "journal is damaged", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			at := (c.Leader() + 1 + i%2) % 3
			n := c.Nodes[at]
			if strings.Contains(tt.name, "snapshot") { // a repair makes one
				must(t, c, at, "cluster", "repair", n.Name)
				c.Await("the node has a snapshot", 10*time.Second, func() bool {
					files, _ := filepath.Glob(filepath.Join(n.Dir, wholeSnapshots))
					return len(files) > 0
				})
			}
			served := tr.answered[at].Load()
			c.Await("the node serves", 10*time.Second, func() bool { return tr.answered[at].Load() > served+20 })
			n.Kill()
			tt.harm(t, n)
			begin := time.Now()
			n.Start()
			n.AwaitReady()
			took := time.Since(begin)
			if tt.look != nil {
				tt.look(t, n)
			}
			if log := n.Log(); !strings.Contains(log, tt.says) {
				t.Errorf("the node does not say %q:\n%s", tt.says, log)
			}
			sameState(t, c)
			var key struct {
				Name string `json:"name"`
			}
			if status := c.Admin(at, http.MethodGet, "/api/v1/keys/"+markedName, nil, &key); status != http.StatusOK || key.Name != markedName {
				t.Errorf("the marked key: %d, %+v", status, key)
			}
			t.Logf("ready %s after its start", took.Round(time.Millisecond))
		})
	}
	tr.end()
	w.end(t, c)
	checkCrashSpend(t, c, id, tr, 0)
	awaitLedger(t, c)
}

// TestDamage_WhileRunning damages a value in the state of a node that runs. It is never told: the node ends when an entry needs
// it, and comes back with the others' state.
func TestDamage_WhileRunning(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, 3)
	marked, _ := c.NewKey(0, map[string]any{"name": markedName})
	_, secret := c.NewKey(0, map[string]any{})
	at := (c.Leader() + 1) % 3
	n, other := c.Nodes[at], (at+1)%3
	for _, i := range []int{at, other} {
		c.Await("the node has the key", 10*time.Second, func() bool { return c.Admin(i, http.MethodGet, "/api/v1/keys/"+marked, nil, nil) == http.StatusOK })
	}
	damageName(t, n)
	never := func() {
		t.Helper()
		for _, path := range []string{"/api/v1/keys/" + marked, "/api/v1/keys?limit=500"} {
			if _, text := cluster.CallRaw(t, http.MethodGet, n.URL+path, cluster.MasterKey, nil); bytes.Contains(text, []byte(damagedName)) {
				t.Errorf("%s tells what is damaged: %s", path, text)
			}
		}
	}
	never()
	if status := c.Admin(other, http.MethodPost, "/api/v1/keys/"+marked+"/block", nil, nil); status/100 != 2 {
		t.Fatalf("block the key: %d", status)
	}
	c.Await("the node ends", 15*time.Second, func() bool { never(); return n.Ended() })
	if got := n.Status(); got != 75 || !strings.Contains(n.Log(), "damaged") {
		t.Errorf("exit status %d, want 75 and the reason:\n%s", got, n.Log())
	}
	if got := c.Chat(other, secret); got != http.StatusOK {
		t.Errorf("a request on another node: %d", got)
	}
	n.Start()
	n.AwaitReady()
	never()
	sameState(t, c)
	var key struct {
		Name    string `json:"name"`
		Blocked bool   `json:"blocked"`
	}
	if status := c.Admin(at, http.MethodGet, "/api/v1/keys/"+marked, nil, &key); status != http.StatusOK || key.Name != markedName || !key.Blocked {
		t.Errorf("the marked key: %d, %+v", status, key)
	}
}

// TestDamage_RowLost takes a row out of the state of a node that was killed: every value that is left is as it was written. The
// node compares the whole with the state hash, ends, and comes back with what it lacked.
func TestDamage_RowLost(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, 3)
	marked, _ := c.NewKey(0, map[string]any{"name": markedName})
	at := (c.Leader() + 1) % 3
	n := c.Nodes[at]
	c.Await("the node has the key", 10*time.Second, func() bool { return c.Admin(at, http.MethodGet, "/api/v1/keys/"+marked, nil, nil) == http.StatusOK })
	n.Kill()
	dropRow(t, newest(t, n, "state/fsm.db"), "keys", marked)
	n.Start()
	c.Await("the node ends", 30*time.Second, n.Ended)
	if got := n.Status(); got != 75 || !strings.Contains(n.Log(), "state hash") {
		t.Errorf("exit status %d, want 75 and the reason:\n%s", got, n.Log())
	}
	n.Start()
	n.AwaitReady()
	sameState(t, c)
	if status := c.Admin(at, http.MethodGet, "/api/v1/keys/"+marked, nil, nil); status != http.StatusOK {
		t.Errorf("the marked key: %d", status)
	}
}

// dropRow deletes a row of a bbolt file.
func dropRow(t *testing.T, path, bucket, key string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		in := tx.Bucket([]byte(bucket))
		if in.Get([]byte(key)) == nil {
			return fmt.Errorf("%s has no row %s", bucket, key)
		}
		return in.Delete([]byte(key))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestDamage_FolderLost destroys a node's whole folder under load. The node is refused as it was; with a token of `cluster replace` it
// comes back as another one, votes, and has everything that was acknowledged, while the old one is dead.
func TestDamage_FolderLost(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, 3)
	_, secret := c.NewKey(0, map[string]any{})
	at := (c.Leader() + 1) % 3
	n, other := c.Nodes[at], (at+1)%3
	for i := range c.Nodes {
		c.Await("the node serves the key", 10*time.Second, func() bool { return c.Chat(i, secret) == http.StatusOK })
	}
	tr := startTraffic(c, secret, 1)
	w := startWriter(t, c)
	before := w.count()
	c.Await("writes go on", 20*time.Second, func() bool { return w.count() > before+20 })
	was := ""
	for _, m := range c.Members(other) {
		if m.Name == n.Name {
			was = m.ID
		}
	}
	n.Kill()
	if err := os.RemoveAll(n.Dir); err != nil {
		t.Fatal(err)
	}
	n.Start()
	c.Await("the start is refused", 20*time.Second, n.Ended)
	if got := n.Status(); got != 78 || !strings.Contains(n.Log(), "--join") {
		t.Errorf("exit status %d, want 78 and what to do:\n%s", got, n.Log())
	}
	token := strings.TrimSpace(must(t, c, other, "cluster", "replace", n.Name, "-o", "table"))
	fields := strings.Fields(token)
	n.Start("--join", c.Nodes[other].Address, "--token", fields[len(fields)-1])
	n.AwaitReady()
	c.AwaitVoters(3)
	for _, m := range c.Members(other) {
		if m.ID == was {
			t.Errorf("the lost node is still a member: %+v", m)
		}
	}
	tr.end()
	for i, n := range c.Nodes {
		if lost := tr.lost[i].Load(); i != at && lost != 0 {
			t.Errorf("node %s failed %d requests, want 0", n.Name, lost)
		}
	}
	w.end(t, c)
	sameState(t, c)
}
