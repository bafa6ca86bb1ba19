//go:build e2e

package faults

import (
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// mix is a run of random faults under load, and what was acknowledged during it.
type mix struct {
	t       *testing.T
	c       *cluster.Cluster
	rand    *rand.Rand // of the faults; the load draws its own
	stop    chan struct{}
	wg      sync.WaitGroup
	secret  string // of the budgeted key
	done    atomic.Int64
	refused atomic.Int64
	lost    atomic.Int64

	mu      sync.Mutex // guards the fields below
	down    [3]bool
	keys    map[string]string // acknowledged: id to secret
	blocked map[string]string // acknowledged as blocked
}

// TestMix_RandomFaults kills, pauses and restarts nodes at random under load and then
// expects that nothing acknowledged was lost: keys work, blocked keys do not, the budget was
// not overspent, and the books are the same on every node. CONCLAVE_SEED repeats a run,
// CONCLAVE_FULL makes it ten minutes.
func TestMix_RandomFaults(t *testing.T) {
	length := 30 * time.Second
	if os.Getenv("CONCLAVE_FULL") != "" {
		length = 10 * time.Minute
	}
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("CONCLAVE_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("CONCLAVE_SEED=%d", seed)
	const limit = 20_000_000 // nanodollars
	m := &mix{
		t: t, c: cluster.Start(t, 3), rand: rand.New(rand.NewPCG(seed, 1)), stop: make(chan struct{}),
		keys: map[string]string{}, blocked: map[string]string{},
	}
	var id string
	id, m.secret = m.c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 0.02, "per": "total"}}})
	for node := range m.c.Nodes {
		m.wg.Go(func() { m.spend(node) })
	}
	m.wg.Go(m.administer)
	for end := time.Now().Add(length); time.Now().Before(end); {
		m.fault()
	}
	close(m.stop)
	m.wg.Wait()
	m.check(id, limit)
}

// spend sends requests to one node, down or not.
func (m *mix) spend(node int) {
	for m.running() {
		switch m.c.Chat(node, m.secret) {
		case http.StatusOK:
			m.done.Add(1)
		case http.StatusTooManyRequests:
			m.refused.Add(1)
			m.wait(50 * time.Millisecond)
		default:
			m.lost.Add(1)
			m.wait(10 * time.Millisecond)
		}
	}
}

// administer makes and blocks keys through any node that is up.
func (m *mix) administer() {
	for i := 0; m.running(); i++ {
		node := i % 3
		if m.isDown(node) {
			continue
		}
		var key struct {
			ID     string `json:"id"`
			Secret string `json:"secret"`
		}
		if m.c.Admin(node, http.MethodPost, "/api/v1/keys", map[string]any{}, &key) != http.StatusCreated {
			continue // not acknowledged: it may be there or not
		}
		if i%3 == 0 && m.c.Admin((node+1)%3, http.MethodPost, "/api/v1/keys/"+key.ID+"/block", nil, nil) == http.StatusOK {
			m.note(m.blocked, key.ID, key.Secret)
		} else if i%3 != 0 {
			m.note(m.keys, key.ID, key.Secret)
		}
		m.wait(20 * time.Millisecond)
	}
}

func (m *mix) note(into map[string]string, id, secret string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	into[id] = secret
}

func (m *mix) isDown(node int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.down[node]
}

func (m *mix) setDown(node int, down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down[node] = down
}

// fault does one thing to one or two nodes and waits until they are back.
func (m *mix) fault() {
	first := m.rand.IntN(3)
	second := (first + 1 + m.rand.IntN(2)) % 3
	pause := time.Duration(m.rand.IntN(2000)) * time.Millisecond
	switch m.rand.IntN(5) {
	case 0, 1:
		m.t.Logf("kill -9 of %s for %s", m.c.Nodes[first].Name, pause)
		m.restart(pause, (*cluster.Process).Kill, first)
	case 2:
		m.t.Logf("kill -9 of %s and %s for %s", m.c.Nodes[first].Name, m.c.Nodes[second].Name, pause)
		m.restart(pause, (*cluster.Process).Kill, first, second)
	case 3:
		m.t.Logf("stop of %s for %s", m.c.Nodes[first].Name, pause)
		m.restart(pause, (*cluster.Process).Stop, first)
	case 4:
		m.t.Logf("pause of %s for %s", m.c.Nodes[first].Name, pause)
		_ = syscall.Kill(m.c.Nodes[first].PID(), syscall.SIGSTOP)
		m.wait(pause)
		_ = syscall.Kill(m.c.Nodes[first].PID(), syscall.SIGCONT)
	}
	m.wait(time.Duration(500+m.rand.IntN(1500)) * time.Millisecond)
}

func (m *mix) restart(pause time.Duration, end func(*cluster.Process), nodes ...int) {
	for _, n := range nodes {
		m.setDown(n, true)
		end(m.c.Nodes[n].Process)
	}
	m.wait(pause)
	for _, n := range nodes {
		m.c.Nodes[n].Start()
	}
	for _, n := range nodes {
		m.c.Nodes[n].AwaitReady()
		m.setDown(n, false)
	}
}

func (m *mix) running() bool {
	select {
	case <-m.stop:
		return false
	default:
		return true
	}
}

func (m *mix) wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-m.stop:
	}
}

// check compares the cluster with what it had acknowledged, and with the upstream's bill.
func (m *mix) check(id string, limit int64) {
	billed, _ := bill(m.t, m.c)
	m.t.Logf("%d answered, %d refused, %d lost; %d keys, %d blocked; billed %d of %d nanodollars",
		m.done.Load(), m.refused.Load(), m.lost.Load(), len(m.keys), len(m.blocked), billed, limit)
	if billed > limit {
		m.t.Errorf("the upstream billed %d nanodollars, want at most %d", billed, limit)
	}
	for node := range m.c.Nodes {
		for key, secret := range m.keys {
			if got := m.c.Chat(node, secret); got != http.StatusOK {
				m.t.Errorf("key %s on node %d: status %d, want 200", key, node, got)
			}
		}
		for key, secret := range m.blocked {
			if got := m.c.Chat(node, secret); got != http.StatusUnauthorized {
				m.t.Errorf("blocked key %s on node %d: status %d, want 401", key, node, got)
			}
		}
	}
	m.c.Await("every node has the same books", 15*time.Second, func() bool {
		u := keyUsage(m.c, 0, id)
		return u.Requests >= m.done.Load() && u == keyUsage(m.c, 1, id) && u == keyUsage(m.c, 2, id)
	})
}
