package plugintest

import (
	"cmp"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// defaultMemory is what a node lets a plugin have.
const defaultMemory = 256 << 20

// processChecks are those of a guardrail's process while it works.
func (k *guardrailKit) processChecks(from *launched) []check {
	return []check{
		{"stays within its memory", func(t *testing.T) { k.memory(t, from) }},
		{"does not grow", func(t *testing.T) { k.growth(t, from) }},
		{"does not keep descriptors", func(t *testing.T) { k.descriptors(t, from) }},
		{"does not write what it checks", func(t *testing.T) { k.silent(t, from) }},
		{"fails what is under way when it is killed", func(t *testing.T) { k.killed(t, from) }},
	}
}

// work asks many checks, large ones among them.
func (k *guardrailKit) work(t *testing.T, c *guardrail.Client, d sdk.GuardrailDescription, rounds int) {
	t.Helper()
	large := strings.Repeat(k.c.Passes+" ", 1+(1<<18)/(len(k.c.Passes)+1))
	for range rounds {
		var wg sync.WaitGroup
		for _, h := range hooks(d) {
			for i := range 64 {
				text := k.c.Passes
				if i%8 == 0 {
					text = large
				}
				wg.Go(func() {
					if _, err := c.Check(short(t), checkOf(h, text)); err != nil {
						t.Errorf("%s: %v", h, err)
					}
				})
			}
		}
		wg.Wait()
	}
}

func (k *guardrailKit) memory(t *testing.T, from *launched) {
	c, d := k.start(t)
	k.work(t, c, d, 5)
	limit := cmp.Or(from.MemoryLimit, int64(defaultMemory))
	if rss, _ := usage(t, from.last.pid()); rss > limit {
		t.Errorf("%d bytes of memory, more than %d: a node would kill it", rss, limit)
	}
}

func (k *guardrailKit) growth(t *testing.T, from *launched) {
	c, d := k.start(t)
	k.work(t, c, d, 5)
	before, _ := usage(t, from.last.pid())
	k.work(t, c, d, 15)
	if after, _ := usage(t, from.last.pid()); after > before+before/2+(16<<20) {
		t.Errorf("it has grown from %d to %d bytes with three times the work", before, after)
	}
}

func (k *guardrailKit) descriptors(t *testing.T, from *launched) {
	c, d := k.start(t)
	k.work(t, c, d, 1)
	_, before := usage(t, from.last.pid())
	k.work(t, c, d, 5)
	if _, after := usage(t, from.last.pid()); after > before+4 {
		t.Errorf("%d descriptors are open, before it were %d", after, before)
	}
}

// silent looks into what the process writes for the text that it must stop.
func (k *guardrailKit) silent(t *testing.T, from *launched) {
	needs(t, k.c.Stops)
	c, d := k.start(t)
	for _, h := range hooks(d) {
		if _, err := c.Check(short(t), checkOf(h, k.c.Stops)); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	from.last.client.Kill() // what it has written has arrived
	if said := from.last.said.String(); strings.Contains(said, k.c.Stops) {
		t.Errorf("it writes what it stops to its log, which the node keeps:\n%s", said)
	}
}

// killed sees that nobody waits for a process that is gone.
func (k *guardrailKit) killed(t *testing.T, from *launched) {
	c, _ := k.start(t)
	p, err := os.FindProcess(from.last.pid())
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
	within(t, "the session has ended", func() bool {
		select {
		case <-c.Done():
			return true
		default:
			return false
		}
	})
	if _, err := c.Check(short(t), checkOf(sdk.Before, k.c.Passes)); err == nil {
		t.Error("a process that was killed answers")
	}
}

// processChecks are those of a callback's process while it works.
func (k *callbackKit) processChecks(from *launched) []check {
	return []check{
		{"stays within its memory", func(t *testing.T) {
			c := k.start(t)
			for range 10 {
				k.deliver(t, c, k.records(1000))
			}
			limit := cmp.Or(from.MemoryLimit, int64(defaultMemory))
			if rss, _ := usage(t, from.last.pid()); rss > limit {
				t.Errorf("%d bytes of memory, more than %d: a node would kill it", rss, limit)
			}
		}},
		{"does not keep descriptors", func(t *testing.T) {
			c := k.start(t)
			k.deliver(t, c, k.records(10))
			_, before := usage(t, from.last.pid())
			for range 50 {
				k.deliver(t, c, k.records(10))
			}
			if _, after := usage(t, from.last.pid()); after > before+4 {
				t.Errorf("%d descriptors are open, before it were %d", after, before)
			}
		}},
		{"keeps what it acknowledged when it is killed", func(t *testing.T) { k.killed(t, from) }},
	}
}

// killed sees that what was acknowledged is in the sink after a kill, and that a new process
// goes on.
func (k *callbackKit) killed(t *testing.T, from *launched) {
	for range 3 {
		k.deliver(t, k.start(t), k.records(20)) // counts what is in the sink
		before := 0
		if k.c.Count != nil {
			before = k.c.Count(t)
		}
		p, err := os.FindProcess(from.last.pid())
		if err == nil {
			err = p.Kill()
		}
		if err != nil {
			t.Fatal(err)
		}
		within(t, "the process is gone", from.last.client.Exited)
		if k.c.Count != nil && k.c.Count(t) < before {
			t.Errorf("of %d records the sink has %d after the process was killed", before, k.c.Count(t))
		}
	}
}
