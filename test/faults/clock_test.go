//go:build e2e

package faults

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/test/cluster"
)

// moved is a cluster whose nodes' clocks the test moves.
type moved struct {
	*cluster.Cluster
	t     *testing.T
	files string // folder of the files that do it
}

func startMoved(t *testing.T) *moved {
	m := &moved{t: t, files: t.TempDir()}
	m.Cluster = cluster.Config{
		Program: nextBinary(t),
		Env:     func(i int) []string { return []string{clock.Variable + "=" + m.file(i)} },
	}.Start(t, 3)
	return m
}

func (m *moved) file(i int) string { return filepath.Join(m.files, fmt.Sprint(i)) }

// set moves the clock of a node; "" sets it right.
func (m *moved) set(i int, how string) {
	m.t.Helper()
	if err := os.WriteFile(m.file(i), []byte(how), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// clocks are the names of the nodes whose clocks node at says are wrong, and by how much.
func (m *moved) clocks(at int) map[string]time.Duration {
	var out struct {
		Members []struct {
			Name     string   `json:"name"`
			Off      int64    `json:"clock_off_ms"`
			Warnings []string `json:"warnings"`
		} `json:"members"`
	}
	if m.Admin(at, http.MethodGet, "/api/v1/cluster", nil, &out) != http.StatusOK {
		return nil
	}
	wrong := map[string]time.Duration{}
	for _, n := range out.Members {
		if strings.Contains(strings.Join(n.Warnings, " "), "clock") {
			wrong[n.Name] = time.Duration(n.Off) * time.Millisecond
		}
	}
	return wrong
}

// certificates are those of all nodes, as they lie on their disks.
func (m *moved) certificates() string {
	var all strings.Builder
	for _, n := range m.Nodes {
		all.Write(content(m.t, filepath.Join(n.Dir, "node.crt")))
	}
	return all.String()
}

// TestClock_Wrong sets a follower's clock an hour ahead and the leader's an hour behind, and with CONCLAVE_FULL also the other way
// about, and has them run 5 % too fast and too slow, under load. The status of every other node says whose clock is wrong and by how much; a leader with
// such a clock hands over; writes and requests of the others go on, and their keys do not end before
// or after their time; at the node with the wrong clock a key ends as much too early or late as that is off. A dollar is not exceeded
// at any look, no certificate is made anew, and when the clock is right the node's books are told and all add up.
func TestClock_Wrong(t *testing.T) {
	c := startMoved(t)
	ask := dear(c.Cluster, t)
	id, secret := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 1, "per": "total", "strict": true}}})
	_, long := c.NewKey(0, map[string]any{"expires_at": time.Now().Add(30 * time.Minute).UTC().Format(time.RFC3339)})
	_, hourly := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 1000, "per": "hour"}}})
	for i := range c.Nodes {
		c.Await("every node serves the keys", 10*time.Second, func() bool {
			return c.Chat(i, long) == http.StatusOK && c.Chat(i, hourly) == http.StatusOK
		})
	}
	certs := c.certificates()
	s := spenders(t, c.Cluster, secret, ask, spendPause)
	a := audit(t, c.Cluster, id, resource.Dollar, 3*time.Millisecond)
	tr := startTraffic(c.Cluster, hourly, 1)
	for _, step := range []struct {
		leader, brief bool
		how           string
		off           time.Duration // about
	}{
		{false, true, "1h", time.Hour},
		{true, true, "-1h", -time.Hour},
		{false, false, "-1h", -time.Hour},
		{true, false, "1h", time.Hour},
		{false, false, "1800ms 0.05", 2 * time.Second}, // drifts over the bound after four seconds
		{true, false, "-1800ms -0.05", -2 * time.Second},
		{false, false, "0s 0.05", 2 * time.Second}, // after forty
	} {
		if step.brief || full() {
			c.wrong(step.leader, step.how, step.off, long, tr)
		}
	}
	c.Await("the dollar is spent", 30*time.Second, func() bool {
		billed, _ := dearBill(t, c.Cluster)
		return billed >= least && refusedEverywhere(t, c.Cluster, secret, ask, s)
	})
	tr.end()
	s.end()
	a.end()
	if got := c.certificates(); got != certs {
		t.Error("certificates were made anew")
	}
	billed, requests := dearBill(t, c.Cluster)
	t.Logf("the upstream billed %s of a dollar for %d requests; %d looks, at most %s", billed, requests, a.looks, a.most)
	if billed > resource.Dollar || billed < least {
		t.Errorf("the upstream billed %s, want a dollar at most and nearly all of it", billed)
	}
	awaitBooks(t, c.Cluster, id, billed, requests, s.answered(), true)
	sameState(t, c.Cluster)
	awaitLedger(t, c.Cluster)
}

// wrong has the clock of one node be wrong for a while.
func (m *moved) wrong(leader bool, how string, off time.Duration, long string, tr *traffic) {
	m.t.Helper()
	node := m.Leader()
	if !leader {
		node = (node + 1) % 3
	}
	others := []int{(node + 1) % 3, (node + 2) % 3}
	name := m.Nodes[node].Name
	what := fmt.Sprintf("clock %q of node %s", how, name)
	var before [3]int64
	for i := range before {
		before[i] = tr.lost[i].Load()
	}
	begin := time.Now()
	m.set(node, how)
	for _, at := range others {
		m.AwaitThat(what+": node "+m.Nodes[at].Name+" names it", 80*time.Second, func() (bool, string) {
			wrong := m.clocks(at)
			got, ok := wrong[name]
			return len(wrong) == 1 && ok && (got-off).Abs() < 1500*time.Millisecond, fmt.Sprint(wrong)
		})
	}
	named := time.Since(begin)
	m.AwaitThat(what+": another leads", 20*time.Second, func() (bool, string) {
		for _, n := range m.Members(others[0]) {
			if n.Leader {
				return n.Name != name, n.Name
			}
		}
		return false, "nobody"
	})
	led := time.Since(begin)
	var worst time.Duration
	for i := range 20 {
		sent := time.Now()
		m.AwaitThat(what+": another node writes", 20*time.Second, func() (bool, string) {
			status, _ := tryKey(m.t, m.Cluster, others[i%2])
			return status == http.StatusCreated, fmt.Sprint(status)
		})
		worst = max(worst, time.Since(sent))
	}
	for _, at := range others {
		if got := m.Chat(at, long); got != http.StatusOK {
			m.t.Errorf("%s: node %s answers %d to a key that ends in half an hour, want 200", what, m.Nodes[at].Name, got)
		}
	}
	want := http.StatusOK
	if off > 30*time.Minute {
		want = http.StatusUnauthorized
	}
	if got := m.Chat(node, long); got != want {
		m.t.Errorf("%s: it answers %d to a key that ends in half an hour, want %d", what, got, want)
	}
	m.ending(what, off, node, others)
	pass(length(time.Second))
	m.set(node, "")
	begin = time.Now()
	m.AwaitThat(what+": right again", 30*time.Second, func() (bool, string) {
		status, _ := tryKey(m.t, m.Cluster, node)
		wrong := m.clocks(others[0])
		return status == http.StatusCreated && wrong != nil && len(wrong) == 0 && m.Chat(node, long) == http.StatusOK, fmt.Sprint(status, wrong)
	})
	m.t.Logf("%s: named after %s, another leads after %s, slowest of 20 writes by the others %s; well %s after it was right; refused meanwhile: %d, by the others %d",
		what, named.Round(time.Millisecond), led.Round(time.Millisecond), worst.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond),
		tr.lost[node].Load()-before[node], tr.lost[others[0]].Load()-before[others[0]]+tr.lost[others[1]].Load()-before[others[1]])
	for _, at := range others {
		if lost := tr.lost[at].Load() - before[at]; lost > 0 {
			m.t.Errorf("%s: node %s failed %d requests, want 0", what, m.Nodes[at].Name, lost)
		}
	}
	answered := tr.answered[node].Load()
	m.Await(what+": it serves as before", 10*time.Second, func() bool { return tr.answered[node].Load() > answered+10 })
}

// ending makes a key that ends in two seconds: the other nodes refuse it then and not before.
func (m *moved) ending(what string, off time.Duration, node int, others []int) {
	m.t.Helper()
	end := time.Now().Add(2 * time.Second)
	_, short := m.NewKey(others[0], map[string]any{"expires_at": end.UTC().Format(time.RFC3339Nano)})
	for _, at := range others {
		m.Await(what+": a key that ends is refused", 20*time.Second, func() bool {
			asked := time.Now()
			status := m.Chat(at, short)
			if status == http.StatusUnauthorized && asked.Before(end) && time.Now().Before(end) {
				m.t.Errorf("%s: node %s refused a key before its end", what, m.Nodes[at].Name)
			}
			if status == http.StatusOK && asked.After(end.Add(50*time.Millisecond)) {
				m.t.Errorf("%s: node %s served a key %s after its end", what, m.Nodes[at].Name, time.Since(end))
			}
			return status == http.StatusUnauthorized
		})
	}
	if off < -time.Minute {
		if got := m.Chat(node, short); got != http.StatusOK {
			m.t.Errorf("%s: it answers %d to a key that by its clock has not ended, want 200", what, got)
		}
	}
}
