//go:build e2e

package faults

import (
	"cmp"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/internal/fault"
	"github.com/conclave-llm/conclave/node/consensus/logstore"
	"github.com/conclave-llm/conclave/node/torture/proof"
	"github.com/conclave-llm/conclave/node/torture/rig"
	"github.com/conclave-llm/conclave/test/cluster"
)

// compactAfter is so few entries that a log soon does not reach back, and so many that it does reach back to the
// snapshot that a slow follower was sent when that has come.
const compactAfter = 300

// snapshotIndexes are the entries at which the newest and the oldest snapshot of a node end; 0: it has none.
func snapshotIndexes(t *testing.T, n *cluster.Node) (newest, oldest uint64) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(n.Dir, "raft", "snapshots", "*-*-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		var term, index uint64
		if _, err := fmt.Sscanf(filepath.Base(d), "%d-%d-", &term, &index); err == nil && !strings.HasSuffix(d, ".tmp") {
			newest, oldest = max(newest, index), min(index, cmp.Or(oldest, index))
		}
	}
	return newest, oldest
}

// applied is the index of what a node has applied, as it says itself.
func applied(c *cluster.Cluster, i int) uint64 {
	var out struct {
		Applied uint64 `json:"applied"`
	}
	if c.Admin(i, http.MethodGet, "/api/v1/cluster", nil, &out) != http.StatusOK {
		return 0
	}
	return out.Applied
}

// TestSnapshot_SlowFollower cuts a follower off until the log no longer reaches back to where it is, and lets it back through a
// link of a megabit a second, under load: it gets a snapshot and catches up, the leader stays, goes on making
// snapshots meanwhile, and fails no request and no write. In the end all have the same state, and what is
// committed is the same in the logs of all.
func TestSnapshot_SlowFollower(t *testing.T) {
	if err := rig.MayPart(); err != nil {
		missing(t, err.Error())
	}
	c := cluster.Config{
		Program: nextBinary(t),
		Env:     func(int) []string { return []string{fmt.Sprint(fault.CompactVariable, "=", compactAfter)} },
	}.StartApart(t, 3)
	_, secret := c.NewKey(0, map[string]any{})
	leader := c.Leader()
	slow, other := (leader+1)%3, (leader+2)%3
	for i := range c.Nodes {
		c.Await("the node serves the key", 10*time.Second, func() bool { return c.Chat(i, secret) == http.StatusOK })
	}
	w := writeThrough(t, c, leader, other)
	tr := startTraffic(c, secret, 1)
	looks := watchForward(t, c)
	c.Mute(slow)
	c.Deafen(slow)
	cut := applied(c, leader)
	var bulk []map[string]any
	for i := range 200 {
		bulk = append(bulk, map[string]any{"name": fmt.Sprint("bulk", i), "metadata": map[string]any{"pad": strings.Repeat(fmt.Sprint(i), 40)}})
	}
	if status, text := cluster.CallRaw(t, http.MethodPost, c.Nodes[other].URL+"/api/v1/keys/bulk", cluster.MasterKey, bulk); status/100 != 2 {
		t.Fatalf("keys in bulk: status %d: %.300s", status, text)
	}
	c.AwaitThat("the leader's log begins behind where the follower is", 60*time.Second, func() (bool, string) {
		newest, oldest := snapshotIndexes(t, c.Nodes[leader]) // the log keeps what follows the one before the oldest, until that is compacted
		return oldest > cut+2*compactAfter, fmt.Sprintf("snapshots from %d to %d, cut at %d", oldest, newest, cut)
	})
	w.paused.Lock() // else so short a log has gone on by the time that the snapshot has come; other changes go on
	before, _ := snapshotIndexes(t, c.Nodes[leader])
	written := len(c.Nodes[slow].Log())
	c.Narrow(slow, "1mbit")
	healed := time.Now()
	c.Heal()
	c.AwaitThat("the follower has caught up", 90*time.Second, func() (bool, string) {
		mine, its := applied(c, leader), applied(c, slow)
		return its > cut && its+20 >= mine, fmt.Sprintf("it has applied %d, the leader %d", its, mine)
	})
	took := time.Since(healed)
	w.paused.Unlock()
	after, _ := snapshotIndexes(t, c.Nodes[leader])
	if !strings.Contains(c.Nodes[slow].Log()[written:], "nstalled remote snapshot") {
		t.Error("the follower was sent no snapshot: the log reached back to where it was")
	}
	c.Narrow(slow, "")
	c.Await("the leader makes another snapshot", 20*time.Second, func() bool { newest, _ := snapshotIndexes(t, c.Nodes[leader]); return newest > before })
	t.Logf("caught up %s after it was let back through a megabit a second; the leader's newest snapshot was of entry %d before and of %d after", took.Round(time.Millisecond), before, after)
	if now := c.Leader(); now != leader {
		t.Errorf("node %s leads, want %s all the time", c.Nodes[now].Name, c.Nodes[leader].Name)
	}
	tr.end()
	w.end(t, c)
	if n := w.failed.Load(); n > int64(w.count()/50) { // a busy machine may refuse one that waited for five seconds
		t.Errorf("%d of %d writes failed", n, w.count())
	}
	for _, i := range []int{leader, other} {
		if lost := tr.lost[i].Load(); lost > 0 {
			t.Errorf("node %s failed %d requests, want 0", c.Nodes[i].Name, lost)
		}
	}
	sameState(t, c)
	looks.end()
	sameLogs(t, c)
}

// forwardWatch notes what all nodes say of their state, for invariant I3.
type forwardWatch struct {
	t     *testing.T
	looks []proof.Look
	stop  chan struct{}
	done  chan struct{}
}

// watchForward looks at every node in turn until it ends, also while nodes are killed and started again.
func watchForward(t *testing.T, c *cluster.Cluster) *forwardWatch {
	f := &forwardWatch{t: t, stop: make(chan struct{}), done: make(chan struct{})}
	key, _ := c.NewKey(0, map[string]any{"name": "version 1"})
	go func() {
		defer close(f.done)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		began := time.Now()
		for i := 0; ; i++ {
			select {
			case <-f.stop:
				return
			case <-tick.C:
			}
			if i%10 == 0 {
				c.Admin((i/10)%len(c.Nodes), http.MethodPatch, "/api/v1/keys/"+key, map[string]any{"name": fmt.Sprint("version ", i)}, nil)
			}
			node := i % len(c.Nodes)
			if l, ok := look(c, node, key); ok {
				l.At = time.Since(began)
				f.looks = append(f.looks, l)
			}
		}
	}()
	return f
}

// look asks a node what it has applied and which version of a key it has.
func look(c *cluster.Cluster, node int, key string) (proof.Look, bool) {
	var state struct {
		Generation uint64 `json:"generation"`
		Applied    uint64 `json:"applied"`
	}
	var k struct {
		Version uint64 `json:"version"`
	}
	ok := c.Admin(node, http.MethodGet, "/api/v1/cluster", nil, &state) == http.StatusOK &&
		c.Admin(node, http.MethodGet, "/api/v1/keys/"+key, nil, &k) == http.StatusOK
	return proof.Look{Node: c.Nodes[node].Name, Generation: state.Generation, Applied: state.Applied, Keys: map[string]uint64{key: k.Version}}, ok
}

// end judges what was seen.
func (f *forwardWatch) end() {
	f.t.Helper()
	close(f.stop)
	<-f.done
	versions := map[uint64]bool{}
	for _, l := range f.looks {
		for _, v := range l.Keys {
			versions[v] = true
		}
	}
	if len(f.looks) < 10 || len(versions) < 2 {
		f.t.Errorf("%d looks at %d versions of a key, want more", len(f.looks), len(versions))
	}
	for _, line := range proof.Forward(f.looks) {
		f.t.Error(line)
	}
}

// sameLogs stops all nodes and compares their logs: what is committed is the same in all, and no term has two leaders.
func sameLogs(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	logs := make([]proof.Log, len(c.Nodes))
	for i, n := range c.Nodes {
		logs[i] = proof.Log{Node: n.Name, Applied: applied(c, i)}
	}
	entries := 0
	for i, n := range c.Nodes {
		n.Stop()
		var err error
		if logs[i].Entries, err = logstore.Digests(filepath.Join(n.Dir, "raft")); err != nil {
			t.Fatalf("the log of node %s: %v", n.Name, err)
		}
		entries += len(logs[i].Entries)
		if logs[i].Applied == 0 || len(logs[i].Entries) == 0 {
			t.Errorf("node %s has applied %d entries and its log has %d", n.Name, logs[i].Applied, len(logs[i].Entries))
		}
	}
	for _, line := range proof.Committed(logs) {
		t.Error(line)
	}
	t.Logf("%d entries in the logs of %d nodes compared", entries, len(logs))
}
