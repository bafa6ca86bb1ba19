//go:build e2e

package faults

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/test/cluster"
)

// TestOffline_DialsNothing runs a three-node cluster inside a network namespace whose only
// way out is a cable to nowhere, does what the other tests do, and expects that not one
// packet was sent into it: neither a look-up of a name nor a connection.
func TestOffline_DialsNothing(t *testing.T) {
	const inside = "CONCLAVE_TEST_INSIDE"
	switch os.Getenv(inside) {
	case "probe":
		probe(t)
		return
	case "cluster":
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
	// IPv6 would announce itself on the cable.
	ip("netns", "exec", ns, "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6")
	for _, cmd := range [][]string{
		{"link", "set", "lo", "up"},
		{"link", "add", "out", "type", "veth", "peer", "name", "far"},
		{"addr", "add", "10.99.0.1/24", "dev", "out"},
		{"link", "set", "out", "up"},
		{"link", "set", "far", "up"},
		{"route", "add", "default", "via", "10.99.0.2"},
	} {
		ip(append([]string{"-n", ns}, cmd...)...)
	}
	before := sent(ip("-n", ns, "-s", "link", "show", "out"))
	within := func(what string) {
		cmd := exec.CommandContext(t.Context(), "ip", "netns", "exec", ns, os.Args[0], "-test.run", "^TestOffline_DialsNothing$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"="+what)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s inside the namespace: %v\n%s", what, err, out)
		}
	}
	within("cluster")
	after := sent(ip("-n", ns, "-s", "link", "show", "out"))
	if after != before {
		t.Errorf("bytes and packets sent to the outside: %s, want %s as before", after, before)
	}
	within("probe")
	if sent(ip("-n", ns, "-s", "link", "show", "out")) == after {
		t.Error("a packet that was sent outside on purpose was not counted")
	}
}

// probe sends one packet into the cable, to see that it would be counted.
func probe(t *testing.T) {
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "udp", "10.99.0.2:9")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
}

// sent is the line of transmitted bytes and packets of `ip -s link`.
func sent(text string) string {
	_, after, _ := strings.Cut(text, "TX:")
	_, after, _ = strings.Cut(after, "\n")
	line, _, _ := strings.Cut(after, "\n")
	return strings.Join(strings.Fields(line), " ")
}
