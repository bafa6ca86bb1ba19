//go:build e2e

package faults

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/torture/rig"
	"github.com/conclave-llm/conclave/test/cluster"
)

// TestThreeMachines makes three machines, each with an address and a folder of its own and without a way out, one endpoint, by the commands of the README: five at
// most. Then a node is killed, with CONCLAVE_FULL each after the other: no request fails of clients that ask the next address.
func TestThreeMachines(t *testing.T) {
	if err := rig.MayPart(); err != nil {
		missing(t, err.Error())
	}
	begun := time.Now()
	c := cluster.StartApart(t, 3)
	took := time.Since(begun)
	t.Logf("three nodes vote %s after the first command:\n%s", took.Round(10*time.Millisecond), strings.Join(c.Typed, "\n"))
	if len(c.Typed) > 5 || took > 3*time.Minute {
		t.Errorf("%d commands in %s, want five at most in three minutes", len(c.Typed), took)
	}
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	token := regexp.MustCompile(`conclave1\.\S+`)
	for i, line := range c.Typed {
		line = strings.Replace(token.ReplaceAllString(line, "TOKEN"), c.Nodes[0].Address, "HOST-A:4001", 1)
		if i > 0 {
			line = strings.Replace(line, "c.hcl", "b.hcl", 1) // the README has two of them
		}
		if !strings.Contains(string(text), "\n"+line+" ") {
			t.Errorf("the README does not say %q", line)
		}
	}
	_, secret := c.NewKey(0, map[string]any{})
	for i := range c.Nodes {
		c.Await("the node serves the key", 10*time.Second, func() bool { return c.Chat(i, secret) == http.StatusOK })
	}
	l := roam(t, c, secret)
	nodes := c.Nodes
	if !full() {
		nodes = nodes[c.Leader():][:1]
	}
	for _, n := range nodes {
		moved := l.moved.Load()
		n.Kill()
		c.Await("clients ask another address", 20*time.Second, func() bool { return l.moved.Load() > moved+20 })
		n.Start()
		n.AwaitReady()
		c.Await("all are there", 30*time.Second, func() bool {
			return reaches(c, 0, c.Nodes[1].Name) && reaches(c, 1, c.Nodes[2].Name) && reaches(c, 2, c.Nodes[0].Name)
		})
	}
	l.end(t)
	if l.again.Load() > 0 {
		t.Errorf("%d times no node answered the first time, for example: %s", l.again.Load(), l.why[0])
	}
}
