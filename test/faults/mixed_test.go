//go:build e2e

package faults

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// orders are those in which the nodes' programs are exchanged, each other than the last: two, or with
// CONCLAVE_FULL all.
func orders() [][]int {
	if os.Getenv("CONCLAVE_FULL") == "" {
		return [][]int{{0, 1, 2}, {2, 0, 1}}
	}
	return [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}
}

// mixed is a cluster whose nodes run one of two programs each.
type mixed struct {
	t    *testing.T
	c    *cluster.Cluster
	bin  [2]string
	runs []int // which program each node runs
}

// turn gives a node a program: it stops and starts again, as an operator does it.
func (m *mixed) turn(node, program int) {
	m.t.Helper()
	n := m.c.Nodes[node]
	n.Stop()
	n.StartProgram(m.bin[program], nil)
	n.AwaitReady()
	m.runs[node] = program
}

// works writes through every node, and finds the write on every node: each program proposes, applies and
// serves beside the other. What only the newer one knows is refused everywhere while the cluster's version
// is the older one's.
func (m *mixed) works() {
	m.t.Helper()
	for i := range m.c.Nodes {
		var secret string
		m.c.Await(fmt.Sprintf("node %d writes in %v", i, m.runs), 15*time.Second, func() bool {
			var out struct {
				Secret string `json:"secret"`
			}
			ok := m.c.Admin(i, http.MethodPost, "/api/v1/keys", map[string]any{}, &out) == http.StatusCreated
			secret = out.Secret
			return ok
		})
		for j := range m.c.Nodes {
			m.c.Await(fmt.Sprintf("node %d serves what node %d wrote in %v", j, i, m.runs), 10*time.Second, func() bool {
				return m.c.Chat(j, secret) == http.StatusOK
			})
		}
	}
	var u upgrade
	if m.c.Admin(0, http.MethodGet, "/api/v1/cluster/upgrade", nil, &u) != http.StatusOK || u.Version != 1 {
		m.t.Errorf("%v: the cluster's version is %d, want 1", m.runs, u.Version)
	}
}

// TestUpgrade_EveryOrder gives the nodes the newer program one after the other, in every order, each restarted once
// more with what it runs, the leader killed in between, and takes it from them again in another order before it is finalised.
// At each of the mixtures every node writes and serves what the others wrote, requests of clients that ask the next address never fail,
// and no state is another one. Then the version is raised, and the older program is refused.
func TestUpgrade_EveryOrder(t *testing.T) {
	t.Parallel()
	m := &mixed{t: t, bin: [2]string{cluster.Binary(t), nextBinary(t)}, runs: make([]int, 3)}
	m.c = cluster.Start(t, 3)
	id, secret := m.c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 1000, "per": "day"}}})
	for i := range m.c.Nodes {
		m.c.Await("the node serves the key", 10*time.Second, func() bool { return m.c.Chat(i, secret) == http.StatusOK })
	}
	load := roam(t, m.c, secret)
	for i, order := range orders() {
		for _, node := range order {
			m.turn(node, 1)
			m.works()
			m.turn(node, 1)
		}
		leader := m.c.Leader()
		m.c.Nodes[leader].Kill()
		m.c.Nodes[leader].StartProgram(m.bin[1], nil)
		m.c.Nodes[leader].AwaitReady()
		for at := range order { // back, in another order
			m.turn(order[(at+i+1)%3], 0)
			m.works()
		}
		sameState(t, m.c)
		t.Logf("order %v: there and back", order)
	}
	for node := range m.c.Nodes {
		m.turn(node, 1)
	}
	if status := m.c.Admin(0, http.MethodPost, "/api/v1/cluster/upgrade", map[string]any{"version": 2}, nil); status != http.StatusOK {
		t.Fatalf("finalise: %d", status)
	}
	load.end(t)
	last := m.c.Nodes[2]
	last.Stop()
	last.StartProgram(m.bin[0], nil)
	m.c.Await("the older program ends", 20*time.Second, last.Ended)
	if text := last.Log(); !strings.Contains(text, "version") {
		t.Errorf("the older program says: %s", text)
	}
	m.turn(2, 1)
	sameState(t, m.c)
	awaitLedger(t, m.c)
	t.Logf("spend: %s", keyCost(m.c, 0, id))
}
