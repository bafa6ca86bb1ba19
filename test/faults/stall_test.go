//go:build e2e

package faults

import (
	"context"
	"net/http"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestLeader_DiskHangs has every sync of the leader's disk take twenty seconds: another leads, and
// takes admin writes, within three seconds; requests on the other nodes fail 0 times.
func TestLeader_DiskHangs(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		missing(t, "strace, which makes the disk hang")
	}
	c := cluster.Start(t, 3)
	_, secret := c.NewKey(0, map[string]any{"name": "loaded"})
	leader := c.Leader()
	other := (leader + 1) % 3
	tr := startTraffic(c, secret, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, strace, "-f", "-qq", "-o", "/dev/null", "-p", strconv.Itoa(c.Nodes[leader].PID()),
		"-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:delay_enter=20s")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hung := time.Now()
	var back time.Duration
	c.Await("another leads and takes admin writes", 15*time.Second, func() bool {
		for _, m := range c.Members(other) {
			if m.Leader && m.Name == c.Nodes[leader].Name {
				return false
			}
		}
		status := c.Admin(other, http.MethodPost, "/api/v1/keys", map[string]any{"name": "after"}, nil)
		back = time.Since(hung)
		return status == http.StatusCreated
	})
	t.Logf("admin writes were back %s after the disk hung", back.Round(time.Millisecond))
	if back > 3*time.Second {
		t.Errorf("admin writes were back after %s, want at most 3 s", back)
	}
	cancel()
	_ = cmd.Wait() // it was killed
	tr.end()
	for node := range c.Nodes {
		if lost := tr.lost[node].Load(); node != leader && lost != 0 {
			t.Errorf("node %s failed %d requests, want 0", c.Nodes[node].Name, lost)
		}
	}
}
