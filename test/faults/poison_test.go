//go:build e2e

package faults

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/internal/fault"
	"github.com/conclave-llm/conclave/test/cluster"
)

// TestPoison has a leader, of a program for tests, append to the log what no node can apply: a command that nobody knows, and one whose
// bytes are not those that were proposed. A node that is to apply it ends with status 75 and says which entry that is. None passes over it: at the next start
// they end again. The last one, which nobody tells that the entry is committed, goes on serving requests, and nothing that was
// acknowledged before is missing there.
func TestPoison(t *testing.T) {
	t.Parallel()
	bin := nextBinary(t)
	all := []string{fault.EntryUnknown}
	if os.Getenv("CONCLAVE_FULL") != "" {
		all = append(all, fault.EntryCorrupt)
	}
	for _, what := range all {
		t.Run(what, func(t *testing.T) { poison(t, bin, what) })
	}
}

func poison(t *testing.T, bin, what string) {
	c := cluster.Start(t, 3)
	_, secret := c.NewKey(0, map[string]any{})
	n := c.Nodes[1]
	n.Stop()
	n.StartProgram(bin, []string{fault.Variable + "=" + what})
	n.AwaitReady()
	c.Await("the program for tests leads", 20*time.Second, func() bool {
		return c.Leader() == 1 || c.Admin(0, http.MethodPost, "/api/v1/cluster/transfer", map[string]string{"to": n.Name}, nil) == 0
	})
	var ids []string
	for i := range 10 {
		id, _ := c.NewKey(i%3, map[string]any{})
		ids = append(ids, id)
	}
	if status := c.Admin(0, http.MethodPost, "/api/v1/keys", map[string]any{"name": "poison"}, nil); status == http.StatusCreated {
		t.Errorf("what nobody can apply was acknowledged: %d", status)
	}
	for _, start := range []string{"first", "second"} {
		last := endedBut(t, c, start)
		c.Await("the last node serves, or has heard of the entry, too", 20*time.Second, func() bool {
			return c.Nodes[last].Ended() || c.Chat(last, secret) == http.StatusOK
		})
		if have := keyIDs(c, last); !c.Nodes[last].Ended() {
			for _, id := range ids {
				if !have[id] {
					t.Errorf("%s: key %s was acknowledged and is not there", start, id)
				}
			}
		}
		if start == "second" {
			return
		}
		c.Nodes[last].Kill()
		for _, n := range c.Nodes {
			n.Start()
		}
	}
}

// endedBut waits until all nodes but one have ended for what they should apply, and returns that one.
func endedBut(t *testing.T, c *cluster.Cluster, start string) (last int) {
	t.Helper()
	c.Await("two nodes end at the "+start+" start", 30*time.Second, func() bool {
		ended := 0
		for i, n := range c.Nodes {
			if n.Ended() {
				ended++
			} else {
				last = i
			}
		}
		return ended >= 2
	})
	for i, n := range c.Nodes {
		if i == last && !n.Ended() {
			continue
		}
		if got := n.Status(); got != 75 {
			t.Errorf("%s start: node %s ended with %d, want 75:\n%s", start, n.Name, got, n.Log())
		}
		if !strings.Contains(n.Log(), "apply entry ") {
			t.Errorf("%s start: node %s does not say which entry it cannot apply:\n%s", start, n.Name, n.Log())
		}
	}
	return last
}
