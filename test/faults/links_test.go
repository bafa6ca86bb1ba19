//go:build e2e

package faults

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/torture/rig"
	"github.com/conclave-llm/conclave/test/cluster"
)

// bad is a way in which the link between two nodes can be bad.
type bad struct {
	name string
	set  func(c *cluster.Cluster, a, b int)
}

var badLinks = []bad{
	{"cut", func(c *cluster.Cluster, a, b int) {
		c.Wire(a, b, cluster.Wire{Cut: true})
		c.Wire(b, a, cluster.Wire{Cut: true})
	}},
	{"cut one way", func(c *cluster.Cluster, a, b int) { c.Wire(a, b, cluster.Wire{Cut: true}) }},
	{"delayed", func(c *cluster.Cluster, a, b int) {
		late := cluster.Wire{Delay: 500 * time.Millisecond, Jitter: 4500 * time.Millisecond}
		c.Wire(a, b, late)
		c.Wire(b, a, late)
	}},
}

// spell is what becomes of links for a while: from the leader to the next node, from that to the last, from that to the leader; nil: nothing.
type spell [3]*bad

func (sp spell) String() string {
	var list []string
	for i, b := range sp {
		if b != nil {
			list = append(list, b.name+[]string{" from the leader on", " between followers", " to the leader"}[i])
		}
	}
	return strings.Join(list, ", ")
}

// spells are, in the long form, each way for each pair, and all links delayed; in the short one one way for each.
func spells() (list []spell) {
	if !full() {
		return []spell{{&badLinks[0], &badLinks[1], &badLinks[2]}}
	}
	for i := range badLinks {
		for pair := range 3 {
			var sp spell
			sp[pair] = &badLinks[i]
			list = append(list, sp)
		}
	}
	return append(list, spell{&badLinks[2], &badLinks[2], &badLinks[2]})
}

// steady is a load that comes as a clock says, whatever becomes of what came before.
type steady struct {
	stop   chan struct{}
	wg     sync.WaitGroup
	mu     sync.Mutex // guards what follows
	took   []time.Duration
	failed []string
}

func startSteady(t *testing.T, c *cluster.Cluster, secret string, every time.Duration) *steady {
	s := &steady{stop: make(chan struct{})}
	for _, n := range c.Nodes {
		s.wg.Go(func() {
			tick := time.NewTicker(every)
			defer tick.Stop()
			for {
				select {
				case <-s.stop:
					return
				case <-tick.C:
					s.wg.Go(func() { s.once(t, n, secret) })
				}
			}
		})
	}
	return s
}

func (s *steady) once(t *testing.T, n *cluster.Node, secret string) {
	begun := time.Now()
	status, body := cluster.CallRaw(t, http.MethodPost, n.URL+"/v1/chat/completions", secret, cluster.ChatBody())
	took := time.Since(begun)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took = append(s.took, took)
	if status != http.StatusOK {
		s.failed = append(s.failed, fmt.Sprintf("node %s: %d %.200s", n.Name, status, body))
	}
}

// taken is what requests took since the last call.
func (s *steady) taken() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	took := s.took
	s.took = nil
	slices.Sort(took)
	return took
}

// figures are what a while has shown.
type figures struct {
	requests  int
	p50, p99  time.Duration
	processor time.Duration // of the nodes, a request
	lines     map[string]int
}

func (f figures) String() string {
	lines := 0
	for _, n := range f.lines {
		lines += n
	}
	return fmt.Sprintf("%5d requests, p50 %8s, p99 %9s, processor %s a request, %2d lines", f.requests, f.p50.Round(time.Microsecond), f.p99.Round(time.Microsecond), f.processor.Round(time.Microsecond), lines)
}

// logged is a line's text, of which nothing is left that is another one each time.
var logged = regexp.MustCompile(`(?:time|term|micros|tally|error|index|last_contact|lag|after|took)=("(?:[^"\\]|\\.)*"|\S*) ?`)

// observe waits and says what was meanwhile.
func observe(t *testing.T, c *cluster.Cluster, s *steady, d time.Duration) (f figures) {
	t.Helper()
	used := func() (all time.Duration) {
		for _, n := range c.Nodes {
			u, err := n.Usage()
			if err != nil {
				t.Fatal(err)
			}
			all += u.Processor
		}
		return all
	}
	from := make([]int, len(c.Nodes))
	for i, n := range c.Nodes {
		from[i] = len(n.Log())
	}
	s.taken()
	before := used()
	pass(d)
	took := s.taken()
	f = figures{requests: len(took), processor: (used() - before) / time.Duration(max(1, len(took))), lines: map[string]int{}}
	if len(took) > 0 {
		f.p50, f.p99 = took[len(took)/2], took[len(took)*99/100]
	}
	for i, n := range c.Nodes {
		for line := range strings.Lines(n.Log()[from[i]:]) {
			if !strings.Contains(line, " msg=request ") {
				f.lines[n.Name+": "+logged.ReplaceAllString(strings.TrimSpace(line), "")]++
			}
		}
	}
	return f
}

// TestNetwork_BadLinks cuts what the nodes of one pair after the other say to each other, cuts it one way, and delays it by half a second to
// five, under a steady load; with CONCLAVE_FULL for ten minutes. No request fails. What one takes, what it costs the nodes of
// the processor and what they log stands beside the same of quiet times in between.
func TestNetwork_BadLinks(t *testing.T) {
	if err := rig.MayPart(); err != nil {
		missing(t, err.Error())
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		missing(t, "/dev/net/tun")
	}
	c := cluster.Config{Wired: true}.Start(t, 3)
	id, secret := c.NewKey(0, map[string]any{"budgets": []map[string]any{{"usd": 1000, "per": "day"}}, "limits": map[string]any{"rpm": 1_000_000}})
	for i := range c.Nodes {
		c.Await("the node serves the key", 10*time.Second, func() bool { return c.Chat(i, secret) == http.StatusOK })
	}
	s := startSteady(t, c, secret, 25*time.Millisecond)
	pass(lasting(0, 30*time.Second)) // until everything is warm
	quiet := []figures{observe(t, c, s, lasting(time.Second, time.Minute))}
	t.Logf("%s: quiet", quiet[0])
	var ill []figures
	for _, sp := range spells() {
		leader := c.Leader()
		for i, b := range sp {
			if b != nil {
				b.set(c, (leader+i)%3, (leader+i+1)%3)
			}
		}
		f := observe(t, c, s, lasting(2*time.Second, time.Minute))
		for from := range c.Nodes {
			for to := range c.Nodes {
				c.Wire(from, to, cluster.Wire{})
			}
		}
		ill = append(ill, f)
		t.Logf("%s: %s", f, sp)
		for _, line := range slices.Sorted(maps.Keys(f.lines)) {
			t.Logf("    %d × %.260s", f.lines[line], line)
		}
		for i, n := range c.Nodes {
			n.AwaitReady()
			c.Await("all are one cluster again", 30*time.Second, func() bool { return reaches(c, i, c.Nodes[(i+1)%3].Name) })
		}
		if full() {
			f = observe(t, c, s, 30*time.Second)
			t.Logf("%s: quiet", f)
			quiet = append(quiet, f)
		}
	}
	close(s.stop)
	s.wg.Wait()
	if len(s.failed) > 0 {
		t.Errorf("%d requests failed, want none: %s", len(s.failed), s.failed[0])
	}
	for _, of := range []struct {
		what string
		of   func(figures) time.Duration
	}{
		{"p50", func(f figures) time.Duration { return f.p50 }},
		{"p99", func(f figures) time.Duration { return f.p99 }},
		{"processor a request", func(f figures) time.Duration { return f.processor }},
	} {
		calm, calmWorst := middle(quiet, of.of)
		with, withWorst := middle(ill, of.of)
		t.Logf("%-20s quiet: median %s, worst %s; bad links: median %s, worst %s", of.what, calm, calmWorst, with, withWorst)
	}
	sameState(t, c)
	var sum int64
	c.Await("the books are the same", 30*time.Second, func() bool {
		u := keyUsage(c, 0, id)
		sum = u.Requests
		return u == keyUsage(c, 1, id) && u == keyUsage(c, 2, id)
	})
	billed, requests := billOf(t, c, "demo", promptNanos, completionNanos)
	awaitBooks(t, c, id, billed, requests, sum, true)
}

// middle is the median and the worst of what some whiles have shown.
func middle(list []figures, of func(figures) time.Duration) (median, worst time.Duration) {
	var all []time.Duration
	for _, f := range list {
		all = append(all, of(f).Round(time.Microsecond))
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)-1]
}
