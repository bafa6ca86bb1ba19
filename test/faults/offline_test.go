//go:build e2e

package faults

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestOffline_DialsNothing runs a three-node cluster inside a network namespace whose only
// way out is a dummy device, does what the other tests do, and expects that not one packet
// was sent to it: neither a look-up of a name nor a connection.
func TestOffline_DialsNothing(t *testing.T) {
	const inside = "CONCLAVE_TEST_INSIDE"
	if os.Getenv(inside) != "" {
		c := cluster.Start(t, 3)
		_, secret := c.NewKey(0, map[string]any{})
		for i := range c.Nodes {
			if got := c.Chat(i, secret); got != http.StatusOK {
				t.Errorf("node %d: status %d, want 200", i, got)
			}
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Fatal("needs root to make a network namespace")
	}
	ns := fmt.Sprintf("conclave%d", os.Getpid())
	ip := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	ip("netns", "add", ns)
	t.Cleanup(func() { _ = exec.CommandContext(context.Background(), "ip", "netns", "del", ns).Run() })
	// IPv6 would announce itself on the dummy device.
	ip("netns", "exec", ns, "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6")
	for _, cmd := range [][]string{
		{"link", "set", "lo", "up"},
		{"link", "add", "out", "type", "dummy"},
		{"addr", "add", "10.99.0.1/24", "dev", "out"},
		{"link", "set", "out", "up"},
		{"route", "add", "default", "via", "10.99.0.2"},
	} {
		ip(append([]string{"-n", ns}, cmd...)...)
	}
	before := sent(ip("-n", ns, "-s", "link", "show", "out"))
	cmd := exec.CommandContext(t.Context(), "ip", "netns", "exec", ns, os.Args[0], "-test.run", "^TestOffline_DialsNothing$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("inside the namespace: %v\n%s", err, out)
	}
	if after := sent(ip("-n", ns, "-s", "link", "show", "out")); after != before {
		t.Errorf("packets sent to the outside: %s, want %s as before", after, before)
	}
}

// sent is the line of transmitted bytes and packets of `ip -s link`.
func sent(text string) string {
	_, after, _ := strings.Cut(text, "TX:")
	_, after, _ = strings.Cut(after, "\n")
	line, _, _ := strings.Cut(after, "\n")
	return strings.Join(strings.Fields(line), " ")
}
