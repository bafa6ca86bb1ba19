//go:build e2e

package faults

import (
	"net/http"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/internal/launch"
	"github.com/conclave-llm/conclave/test/cluster"
)

// starve lets a node have about a tenth of the processor for some time: it is stopped for 90 ms of
// each 100.
func starve(n *cluster.Node, d time.Duration) {
	end := time.After(d)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-end:
			return
		case <-tick.C:
		}
		_ = launch.Signal(n.PID(), syscall.SIGSTOP)
		<-time.After(90 * time.Millisecond)
		_ = launch.Signal(n.PID(), syscall.SIGCONT)
	}
}

// TestStarved_Processor starves a follower, then the leader: the cluster goes on, or another node leads; what was
// acknowledged is on every node and none has another state.
func TestStarved_Processor(t *testing.T) {
	c := cluster.Start(t, 3)
	id, secret := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 1000, "per": "day"}}})
	tr := startTraffic(c, secret, 1)
	w := startWriter(t, c)
	for _, who := range []string{"a follower", "the leader"} {
		node := c.Leader()
		if who == "a follower" {
			node = (node + 1) % 3
		}
		before := w.count()
		starve(c.Nodes[node], length(5*time.Second))
		t.Logf("%s starved: %d writes acknowledged meanwhile; node %s leads afterwards", who, w.count()-before, c.Nodes[c.Leader()].Name)
		if w.count() == before {
			t.Errorf("%s starved: nothing was acknowledged", who)
		}
		c.Nodes[node].AwaitReady()
	}
	tr.end()
	w.end(t, c)
	sameState(t, c)
	checkSpend(t, c, id, tr)
	awaitLedger(t, c)
}

// TestStarved_Memory takes the memory away from the leader while it serves: it ends, as the kernel would end
// it, another node leads, and it starts again by itself with nothing missing. A node that has a processor and a memory
// limit of its own (GOMAXPROCS=1, GOMEMLIMIT) is a node as others are.
func TestStarved_Memory(t *testing.T) {
	if _, err := exec.LookPath("prlimit"); err != nil {
		missing(t, "prlimit (util-linux)")
	}
	c := cluster.Start(t, 3)
	id, secret := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 1000, "per": "day"}}})
	small := (c.Leader() + 1) % 3
	c.Nodes[small].Stop()
	c.Nodes[small].StartProgram(cluster.Binary(t), []string{"GOMAXPROCS=1", "GOMEMLIMIT=48MiB"})
	c.Nodes[small].AwaitReady()
	tr := startTraffic(c, secret, 2)
	w := startWriter(t, c)
	leader := c.Leader()
	n := c.Nodes[leader]
	out, err := exec.CommandContext(t.Context(), "prlimit", "--pid", strconv.Itoa(n.PID()), "--data=1", "--as=1").CombinedOutput()
	if err != nil {
		t.Fatalf("prlimit: %v: %s", err, out)
	}
	storm := make(chan struct{})
	go func() { // what needs memory
		defer close(storm)
		for i := 0; i < 400 && !n.Ended(); i++ {
			cluster.CallRaw(t, http.MethodPost, n.URL+"/v1/chat/completions", secret, map[string]any{
				"model": "demo", "max_tokens": 16, "messages": []map[string]string{{"role": "user", "content": string(make([]byte, 1<<20))}},
			})
		}
	}()
	c.Await("the leader ends without memory", 60*time.Second, n.Ended)
	<-storm
	t.Logf("the leader ended with %d", n.Status())
	begin, before := time.Now(), w.count()
	c.Await("writes go on", 15*time.Second, func() bool { return w.count() > before+3 })
	t.Logf("writes go on %s after", time.Since(begin).Round(time.Millisecond))
	n.Start()
	n.AwaitReady()
	tr.end()
	w.end(t, c)
	sameState(t, c)
	checkCrashSpend(t, c, id, tr, 0)
	awaitLedger(t, c)
}
