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

// stray leaves in a node's folders what other systems take for an order to become another cluster.
func stray(t *testing.T, n *cluster.Node, id string) {
	t.Helper()
	for _, name := range []string{"peers.json", "raft/peers.json", "raft/peers.info", "peers.info"} {
		text := `[{"id": "` + id + `", "address": "` + n.Address + `", "non_voter": false}]`
		if err := os.WriteFile(filepath.Join(n.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func ids(all []cluster.Member) string {
	var out []string
	for _, m := range all {
		out = append(out, m.Name+"="+m.ID)
	}
	return strings.Join(out, " ")
}

// TestStrangers_OtherCluster has two clusters meet: a node of one gets the addresses that a dead node of the other had, so that
// both speak to each other on all ways that nodes have; a newcomer brings the token of one to the other; and in folders of nodes are files
// that other systems obey. Each cluster stays what it was.
func TestStrangers_OtherCluster(t *testing.T) {
	t.Parallel()
	c, other := cluster.Start(t, 3), cluster.Start(t, 1)
	id, _ := c.NewKey(0, map[string]any{})
	theirs, _ := other.NewKey(0, map[string]any{})
	dead, stranger := c.Nodes[2], other.Nodes[0]
	members, otherMembers := ids(c.Members(0)), ids(other.Members(0))
	dead.Kill()
	stranger.Stop()
	move(t, stranger, dead.Address)
	stranger.Start()
	stranger.AwaitReady()

	token := strings.TrimSpace(must(t, c, 0, "cluster", "join-token"))
	lost := other.Add()
	lost.Start("--join", stranger.Address, "--token", token)
	c.Await("who brings another cluster's token is refused", 30*time.Second, lost.Ended)
	if got := lost.Status(); got != 78 {
		t.Errorf("the newcomer ended with %d, want 78:\n%s", got, lost.Log())
	}

	c.Nodes[0].Stop() // and looks for the others at its start
	stray(t, c.Nodes[0], "01a22d9d-0000-7000-8000-000000000000")
	stray(t, dead, "01a22d9d-0000-7000-8000-000000000000")
	c.Nodes[0].Start()
	c.Nodes[0].AwaitReady()
	pass(length(3 * time.Second))
	for i := range 10 {
		c.NewKey(i%2, map[string]any{})
		other.NewKey(0, map[string]any{})
	}
	if got := ids(c.Members(0)); got != members {
		t.Errorf("the members are %s, want %s", got, members)
	}
	if got := ids(other.Members(0)); got != otherMembers {
		t.Errorf("the other cluster's members are %s, want %s", got, otherMembers)
	}
	if keyIDs(c, 0)[theirs] || keyIDs(other, 0)[id] {
		t.Error("a key of one cluster is in the other")
	}
	stranger.Stop()
	dead.Start()
	dead.AwaitReady()
	c.AwaitVoters(3)
	sameState(t, c)
}

// move gives a node that is stopped another cluster address.
func move(t *testing.T, n *cluster.Node, address string) {
	t.Helper()
	text := strings.ReplaceAll(string(content(t, n.File)), n.Address, address)
	if err := os.WriteFile(n.File, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n.Address = address
}

// TestStrangers_Copied starts a copy of a node's folder beside the node, as a cloned machine does. One of the two ends and says why, the
// cluster goes on, and nothing that was acknowledged is missing.
func TestStrangers_Copied(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, 3)
	id, secret := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 1000, "per": "day"}}})
	n := c.Nodes[2]
	n.Stop()
	twin := c.Add()
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", n.Dir, twin.Dir).CombinedOutput(); err != nil {
		t.Fatalf("copy the folder: %v: %s", err, out)
	}
	text := strings.ReplaceAll(string(content(t, twin.File)), `"`+twin.Name+`"`, `"`+n.Name+`"`)
	if err := os.WriteFile(twin.File, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n.Start()
	n.AwaitReady()
	tr := startTraffic(c, secret, 1)
	w := startWriter(t, c)
	c.Await("some keys are made", 20*time.Second, func() bool { return w.count() > 20 })
	twin.Start()
	c.Await("one of the two ends", 30*time.Second, func() bool { return n.Ended() || twin.Ended() })
	ended, other := twin, n
	if n.Ended() {
		ended, other = n, twin
	}
	if got := ended.Status(); got != 78 || !strings.Contains(ended.Log(), "another process") {
		t.Errorf("node %s in %s ended with %d, and should say with 78 that another process runs as it:\n%s", ended.Name, ended.Dir, got, ended.Log())
	}
	before := w.count()
	c.Await("the cluster goes on", 20*time.Second, func() bool { return w.count() > before+20 })
	if other.Ended() {
		t.Errorf("the other one ended, too:\n%s", other.Log())
	}
	c.Nodes[2] = other
	c.Nodes[2].AwaitReady()
	tr.end()
	w.end(t, c)
	sameState(t, c)
	checkSpend(t, c, id, tr)
	if status := c.Admin(0, http.MethodGet, "/api/v1/cluster", nil, nil); status != http.StatusOK {
		t.Errorf("the status: %d", status)
	}
}

// TestStrangers_Restored puts an older copy of a node's folder in its place, as who restores its disk from a backup does. The node finds that it
// has forgotten votes and entries, gives up its vote, and comes back with everything.
func TestStrangers_Restored(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, 3)
	id, secret := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 1000, "per": "day"}}})
	at := (c.Leader() + 1) % 3
	n := c.Nodes[at]
	n.Stop()
	old := filepath.Join(t.TempDir(), "old")
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", n.Dir, old).CombinedOutput(); err != nil {
		t.Fatalf("copy the folder: %v: %s", err, out)
	}
	n.Start()
	n.AwaitReady()
	tr := startTraffic(c, secret, 1)
	w := startWriter(t, c)
	c.Await("some keys are made", 20*time.Second, func() bool { return w.count() > 20 })
	n.Stop() // and tells what it has spent
	if err := os.Rename(n.Dir, n.Dir+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(old, n.Dir); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	n.Start()
	n.AwaitReady()
	t.Logf("ready %s after its start", time.Since(began).Round(10*time.Millisecond))
	if log := n.Log(); !strings.Contains(log, "another process has run as this node since") || !strings.Contains(log, "this node begins with an empty log") {
		t.Error("the old folder was taken for the newest one")
	}
	tr.end()
	w.end(t, c)
	c.AwaitVoters(3)
	sameState(t, c)
	checkSpend(t, c, id, tr)
}
